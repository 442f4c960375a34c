import math
import numpy as np
class Sampler:
    def __init__(self,sd): self.sd=sd
    def draw(self,count,stream):
        w=stream.words((2,count)).astype(float)/2**64
        return np.rint(np.sqrt(-2*np.log(w[0]+1e-18))*np.cos(2*np.pi*w[1])*self.sd).astype(np.int64)
def discrete_gaussian(v): return Sampler(math.sqrt(v))
def polya(s,h): return Sampler(math.sqrt(2/h)*float(s))
def gaussian_bound(v): return math.isqrt(int(v)*300)+20
def polya_bound(s,h): return int(140*s)+20
