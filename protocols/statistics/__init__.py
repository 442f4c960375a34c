"""Statistics, one a file, found by their SQL names."""

from protocols.statistics.base import Statistic
from protocols.statistics.count import Count
from protocols.statistics.covariance import Correlation, Covariance, Regression
from protocols.statistics.mean import Mean
from protocols.statistics.sum import Sum
from protocols.statistics.variance import Variance

ALL: tuple[Statistic, ...] = (Count(), Sum(), Mean(), Variance(), Covariance(), Correlation(), Regression())

BY_NAME: dict[str, Statistic] = {name: statistic for statistic in ALL for name in statistic.names}
