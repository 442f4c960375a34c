"""The worked examples of CONTRIBUTING.md run as they stand there."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mpc.algebra.ring import RING
from mpc.algebra.wide import FIELD127
from mpc.simulate import simulate
from protocols import statistics
from protocols.gadgets import multiply, reveal, share
from protocols.planning.execute import answer, execute, inputs
from protocols.planning.plan import Security
from protocols.planning.planner import plan_query
from protocols.tables import Column, Table

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def example(folder: Path, name: str) -> ModuleType:
    code = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", TEXT, re.DOTALL)
    assert code is not None
    file = folder / f"contributed_{name}.py"
    file.write_text(code[1])
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def products(ctx, x):
    first, second, third = share(ctx, x)
    return reveal(ctx, multiply(ctx, first - 2, second + third))


def test_the_statistic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from parties.spec.sql import parse_query

    rms = example(tmp_path, "statistic").RootMeanSquare()
    monkeypatch.setitem(statistics.BY_NAME, "RMS", rms)
    column = Column("amount", "decimal", -500, 500, scale=2)
    holders = ("alpha", "beta", "gamma")
    table = Table("sales", {"amount": column}, 10, holders)
    query = parse_query("size", "SELECT RMS(amount) AS size FROM sales", {"sales": table}, ("alpha",))
    plan = plan_query(query, Security(holders, "additive", 2))
    values = [[100, -250], [0], [499, 3, -7]]
    home = [[np.array([len(v), sum(x * x for x in v)])] for v in values]
    opened = simulate(lambda ctx, mine: execute(ctx, plan, inputs(plan, mine)), home, plan.scheme, triples=None)[0]
    (got,) = answer(plan, opened).rows[0]
    exact = rms.reference("RMS", query.select[0].arguments, [(x,) for v in values for x in v])
    assert abs(got - exact) <= rms.error_bound("RMS", query.select[0].arguments, 2_000_000)


@pytest.mark.parametrize("algebra", [RING, FIELD127])
def test_the_scheme(tmp_path: Path, algebra) -> None:
    scheme = example(tmp_path, "scheme").Difference(3, algebra)
    x = [np.array([5, -6]), np.array([7, 1]), np.array([-9, 100])]
    for result in simulate(products, x, scheme):
        assert result.tolist() == [(5 - 2) * (7 - 9), (-6 - 2) * (1 + 100)]


def test_the_transport(tmp_path: Path) -> None:
    recorders = {}

    def wrap(me, inner):
        recorders[me] = example(tmp_path, "transport").Recorder(me, inner)
        return recorders[me]

    simulate(products, [np.arange(10)] * 3, "additive", wrap=wrap)
    assert recorders[0].sent == {-1: 32, 1: 240, 2: 240}
