#!/usr/bin/env python3
"""Reads the output of go test -json. It prints one line for each package, the
whole output of a failed test, and each skipped test with its reason to the file
named by its argument. It fails if a test failed or no package was tested."""
import collections
import json
import sys

output, packages, failed = collections.defaultdict(list), 0, False
with open(sys.argv[1], "a") as skips:
    for line in sys.stdin:
        try:
            e = json.loads(line)
        except ValueError:
            print(line, end="")
            continue
        package, test, action = e.get("Package") or e.get("ImportPath", ""), e.get("Test", ""), e["Action"]
        if action in ("output", "build-output"):
            output[package, test].append(e["Output"])
        elif action == "skip" and test:
            said = [s.strip() for s in output.pop((package, test), []) if not s.lstrip().startswith(("===", "---"))]
            skips.write(f"{package}.{test}: {' '.join(said)}\n")
        elif action in ("fail", "build-fail"):
            failed = True
            print("".join(output.pop((package, test), [])), end="", flush=True)
        elif action == "pass" and test:
            output.pop((package, test), None)
        if action in ("pass", "fail") and not test:
            packages += 1
            print({"pass": "ok", "fail": "FAIL"}[action], package, f"{e['Elapsed']}s", flush=True)
if not packages:
    print("no package was tested")
sys.exit(failed or not packages)
