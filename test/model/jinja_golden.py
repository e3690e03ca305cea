"""Renders the templates of jinja_templates.json by Python's Jinja2, set up as transformers sets it up.

python3 test/model/jinja_golden.py test/model/jinja_templates.json > test/model/jinja_golden.json
"""
import json
import sys

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message):
    raise jinja2.TemplateError(message)


environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
)
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
cases = json.load(open(sys.argv[1]))
rows = []
for template in cases["templates"]:
    try:
        text = environment.from_string(template).render(**cases["variables"])
        rows.append({"template": template, "text": text})
    except Exception as error:
        rows.append({"template": template, "error": type(error).__name__})
json.dump({"jinja2": jinja2.__version__, "variables": cases["variables"], "rows": rows}, sys.stdout, indent=1, ensure_ascii=False)
