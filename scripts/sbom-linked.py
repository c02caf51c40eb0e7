"""Keeps of a bill of materials what is linked in.

usage: cargo tree --prefix none --format '{p}' … | sbom-linked.py BILL

Prints the bill (CycloneDX, JSON) without all other components; fails where it lacks
one that is linked in.
"""

import json
import sys

bill = json.load(open(sys.argv[1], encoding="utf-8"))
own = bill["metadata"]["component"]


def crate(component):
    return component["name"], component["version"]


linked = {(words[0], words[1].removeprefix("v")) for words in map(str.split, sys.stdin) if words}
components = [component for component in bill["components"] if crate(component) in linked]
missing = linked - {crate(component) for component in [own, *components]}
if missing:
    sys.exit(f"the bill of materials lacks {sorted(missing)}")

kept = {component["bom-ref"] for component in [own, *components]}
bill["components"] = components
bill["dependencies"] = [
    {**one, "dependsOn": [other for other in one.get("dependsOn", []) if other in kept]}
    for one in bill.get("dependencies", [])
    if one["ref"] in kept
]
json.dump(bill, sys.stdout, indent=2)
print()
