"""`comity demo` without the ten seconds in which the companies' commands make their folders: they are made in this
process. In `python quick_demo.py QUERY ...`, only these queries run, and the pooled answer of the first is a wrong one."""

import dataclasses
import shutil
import sys
from pathlib import Path

from cluster import Cluster
from rich.console import Console

from parties.cli import demo, main
from parties.spec.load import Spec, load

QUERIES = sys.argv[1:]

honest = demo.pooled_answer


def prepare(folder: Path, example: Path, say: Console) -> Spec:
    companies = Cluster(folder, demo.HOLDERS, colluding=2)
    stanzas = "\n".join(map(companies.stanza, companies.everybody))
    companies.spec.write_text((example / "queries.toml").read_text() + "\n\n" + stanzas)
    for name, table in demo.HOLDERS.items():
        shutil.copy(example / "data" / f"{name}.parquet", folder / name)
        with (folder / name / "node.toml").open("a") as config:
            config.write(f'\n[tables.{table}]\nsource = "{name}.parquet"\n')
    companies.approve()
    spec = load(companies.spec)
    return dataclasses.replace(spec, plans={name: spec.plans[name] for name in QUERIES or spec.plans})


def pooled_answer(query, sources):
    first, *others = honest(query, sources)
    return [(*first[:-1], first[-1] + (query.name == QUERIES[0])), *others]


if __name__ == "__main__":
    demo._prepare = prepare
    if QUERIES:
        demo.pooled_answer = pooled_answer
    sys.argv = ["comity", "demo", "--format", "json"]
    main.main()
