"""The bibliography. Docstrings cite its keys, as in [Beaver91]; a test holds the two together."""

from typing import NamedTuple


class Paper(NamedTuple):
    authors: str
    title: str
    venue: str
    year: int

    def __str__(self) -> str:
        return f"{self.authors}: {self.title}. {self.venue}, {self.year}"


PAPERS: dict[str, Paper] = {
    "AFLNO16": Paper(
        "Toshinori Araki, Jun Furukawa, Yehuda Lindell, Ariel Nof, Kazuma Ohara",
        "High-Throughput Semi-Honest Secure Three-Party Computation with an Honest Majority",
        "CCS 2016, ePrint 2016/768",
        2016,
    ),
    "AMP04": Paper(
        "Gagan Aggarwal, Nina Mishra, Benny Pinkas",
        "Secure Computation of the kth-Ranked Element",
        "EUROCRYPT 2004, LNCS 3027",
        2004,
    ),
    "AS19": Paper("Abdelrahaman Aly, Nigel P. Smart", "Benchmarking Privacy Preserving Scientific Operations", "ACNS 2019, LNCS 11464, ePrint 2019/354", 2019),
    "BS16": Paper(
        "Mark Bun, Thomas Steinke",
        "Concentrated Differential Privacy: Simplifications, Extensions, and Lower Bounds",
        "TCC 2016-B, LNCS 9985",
        2016,
    ),
    "BW18": Paper(
        "Borja Balle, Yu-Xiang Wang",
        "Improving the Gaussian Mechanism for Differential Privacy: Analytical Calibration and Optimal Denoising",
        "ICML 2018, PMLR 80",
        2018,
    ),
    "Batcher68": Paper("Kenneth E. Batcher", "Sorting Networks and Their Applications", "AFIPS Spring Joint Computer Conference 1968", 1968),
    "Beaver91": Paper(
        "Donald Beaver", "Efficient Multiparty Protocols Using Circuit Randomization", "CRYPTO 1991, LNCS 576", 1991
    ),
    "CDI05": Paper(
        "Ronald Cramer, Ivan Damgård, Yuval Ishai",
        "Share Conversion, Pseudorandom Secret-Sharing and Applications to Secure Computation",
        "TCC 2005, LNCS 3378",
        2005,
    ),
    "CKS20": Paper(
        "Clément L. Canonne, Gautam Kamath, Thomas Steinke",
        "The Discrete Gaussian for Differential Privacy",
        "NeurIPS 2020",
        2020,
    ),
    "CO15": Paper("Tung Chou, Claudio Orlandi", "The Simplest Protocol for Oblivious Transfer", "LATINCRYPT 2015, LNCS 9230", 2015),
    "CP34": Paper(
        "C. J. Clopper, E. S. Pearson",
        "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial",
        "Biometrika 26(4)",
        1934,
    ),
    "EGKRS20": Paper(
        "Daniel Escudero, Satrajit Ghosh, Marcel Keller, Rahul Rachuri, Peter Scholl",
        "Improved Primitives for MPC over Mixed Arithmetic-Binary Circuits",
        "CRYPTO 2020, LNCS 12171, ePrint 2020/338",
        2020,
    ),
    "GKWY20": Paper(
        "Chun Guo, Jonathan Katz, Xiao Wang, Yu Yu",
        "Efficient and Secure Multiparty Computation from Fixed-Key Block Ciphers",
        "IEEE S&P 2020, ePrint 2019/074",
        2020,
    ),
    "GRR98": Paper(
        "Rosario Gennaro, Michael O. Rabin, Tal Rabin",
        "Simplified VSS and Fast-Track Multiparty Computations with Applications to Threshold Cryptography",
        "PODC 1998",
        1998,
    ),
    "GX17": Paper(
        "Slawomir Goryczka, Li Xiong",
        "A Comprehensive Comparison of Multiparty Secure Additions with Differential Privacy",
        "IEEE Transactions on Dependable and Secure Computing 14(5)",
        2017,
    ),
    "Gilboa99": Paper("Niv Gilboa", "Two Party RSA Key Generation", "CRYPTO 1999, LNCS 1666", 1999),
    "Goodrich11": Paper(
        "Michael T. Goodrich",
        "Data-Oblivious External-Memory Algorithms for the Compaction, Selection, and Sorting of Outsourced Data",
        "SPAA 2011, arXiv 1103.5102",
        2011,
    ),
    "HRMS10": Paper(
        "Michael Hay, Vibhor Rastogi, Gerome Miklau, Dan Suciu",
        "Boosting the Accuracy of Differentially Private Histograms Through Consistency",
        "Proceedings of the VLDB Endowment 3(1)",
        2010,
    ),
    "KKMN09": Paper(
        "Aleksandra Korolova, Krishnaram Kenthapadi, Nina Mishra, Alexandros Ntoulas",
        "Releasing Search Queries and Clicks Privately",
        "WWW 2009",
        2009,
    ),
    "KLNRS11": Paper(
        "Shiva Prasad Kasiviswanathan, Homin K. Lee, Kobbi Nissim, Sofya Raskhodnikova, Adam Smith",
        "What Can We Learn Privately?",
        "SIAM Journal on Computing 40(3)",
        2011,
    ),
    "KLS21": Paper(
        "Peter Kairouz, Ziyu Liu, Thomas Steinke",
        "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation",
        "ICML 2021, PMLR 139",
        2021,
    ),
    "KOV16": Paper(
        "Peter Kairouz, Sewoong Oh, Pramod Viswanath",
        "Extremal Mechanisms for Local Differential Privacy",
        "Journal of Machine Learning Research 17(17)",
        2016,
    ),
    "Knuth97": Paper("Donald E. Knuth", "The Art of Computer Programming, Volume 2: Seminumerical Algorithms", "Addison-Wesley, third edition", 1997),
    "LDHHZS23": Paper(
        "Yun Li, Yufei Duan, Zhicong Huang, Cheng Hong, Chao Zhang, Yifan Song",
        "Efficient 3PC for Binary Circuits with Application to Maliciously-Secure DNN Inference",
        "USENIX Security 2023",
        2023,
    ),
    "MR18": Paper("Payman Mohassel, Peter Rindal", "ABY3: A Mixed Protocol Framework for Machine Learning", "CCS 2018, ePrint 2018/403", 2018),
    "MW17": Paper(
        "Daniele Micciancio, Michael Walter",
        "Gaussian Sampling over the Integers: Efficient, Generic, Constant-Time",
        "CRYPTO 2017, LNCS 10402",
        2017,
    ),
    "MZ17": Paper(
        "Payman Mohassel, Yupeng Zhang",
        "SecureML: A System for Scalable Privacy-Preserving Machine Learning",
        "IEEE S&P 2017, ePrint 2017/396",
        2017,
    ),
    "Mironov17": Paper("Ilya Mironov", "Rényi Differential Privacy", "IEEE CSF 2017", 2017),
    "NO07": Paper(
        "Takashi Nishide, Kazuo Ohta",
        "Multiparty Computation for Interval, Equality, and Comparison Without Bit-Decomposition Protocol",
        "PKC 2007, LNCS 4450",
        2007,
    ),
    "QYL13": Paper(
        "Wahbeh Qardaji, Weining Yang, Ninghui Li",
        "Understanding Hierarchical Methods for Differentially Private Histograms",
        "Proceedings of the VLDB Endowment 6(14)",
        2013,
    ),
    "RRKCGRS20": Paper(
        "Deevashwer Rathee, Mayank Rathee, Nishant Kumar, Nishanth Chandran, Divya Gupta, Aseem Rastogi, Rahul Sharma",
        "CrypTFlow2: Practical 2-Party Secure Inference",
        "CCS 2020, ePrint 2020/1002",
        2020,
    ),
    "RW19": Paper(
        "Dragos Rotaru, Tim Wood",
        "MArBled Circuits: Mixing Arithmetic and Boolean Circuits with Active Security",
        "INDOCRYPT 2019, LNCS 11898, ePrint 2019/207",
        2019,
    ),
    "Roy22": Paper(
        "Lawrence Roy",
        "SoftSpokenOT: Quieter OT Extension from Small-Field Silent VOLE in the Minicrypt Model",
        "CRYPTO 2022, LNCS 13507, ePrint 2022/192",
        2022,
    ),
    "Shamir79": Paper("Adi Shamir", "How to Share a Secret", "Communications of the ACM 22(11)", 1979),
    "Sklansky60": Paper("J. Sklansky", "Conditional-Sum Addition Logic", "IRE Transactions on Electronic Computers EC-9(2)", 1960),
    "Warner65": Paper(
        "Stanley L. Warner",
        "Randomized Response: A Survey Technique for Eliminating Evasive Answer Bias",
        "Journal of the American Statistical Association 60(309)",
        1965,
    ),
    "Warren13": Paper("Henry S. Warren", "Hacker's Delight", "2nd edition, Addison-Wesley", 2013),
}
