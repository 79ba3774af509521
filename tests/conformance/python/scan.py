"""Reads interface files with the parser of the package `varlink`, and prints the methods of each as JSON."""

import json
import sys

from varlink.scanner import Interface, _Method

found = {}
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        interface = Interface(file.read())
    found[interface.name] = sorted(n for n, m in interface.members.items() if isinstance(m, _Method))
print(json.dumps(found))
