import math
from fractions import Fraction
def honest(adding,colluding): return max(1,adding-colluding)
def noise_variance(adding,colluding,m,sq,mr): return Fraction(m*m*sq*10**6,2*mr*max(m,honest(adding,colluding)))
def laplace_scale(m,d1,eps): return Fraction(m*d1)/eps
def epsilon(mr,delta):
    r=mr/1e6; return r+2*math.sqrt(r*math.log(1/delta))
def micro_rho(eps,delta):
    lo,hi=0,10**12
    while hi-lo>1:
        mid=(lo+hi)//2
        lo,hi=(mid,hi) if epsilon(mid,delta)<=eps else (lo,mid)
    return lo
def pure_micro_rho(eps): return math.ceil(1e6*eps*eps/2)
def gaussian_rdp(mr): return ()
def laplace_rdp(e): return ()
