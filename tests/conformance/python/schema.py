"""Holds manifests against the manifest's JSON Schema: `schema.py SCHEMA MANIFEST...`; each that does not fit, with why, as JSON."""

import json
import sys
import tomllib

import jsonschema_rs

schema, *manifests = sys.argv[1:]
with open(schema, encoding="utf-8") as file:
    validator = jsonschema_rs.validator_for(json.load(file))
wrong = {}
for name in manifests:
    with open(name, "rb") as file:
        errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(tomllib.load(file))]
    if errors:
        wrong[name] = errors
print(json.dumps(wrong))
