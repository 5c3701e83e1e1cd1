#!/usr/bin/env python3
"""Writes the dashboards to dashboards/*.json, or to the folder that is named. Needs grafana-foundation-sdk (tests/peers/requirements.txt)."""

import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

import machines
import service
import vm

DASHBOARDS = {"service": service.dashboard, "machines": machines.dashboard, "vm": vm.dashboard}


def write(folder: Path) -> None:
    for name, build in DASHBOARDS.items():
        text = JSONEncoder(sort_keys=True, indent=2).encode(build().build())
        (folder / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
