"""Helm and the schemas of Kubernetes, for the tests and for scripts/kubernetes.

    helm.py lint CHART                     the messages, as JSON
    helm.py render CHART [VALUES] [NAME]   the objects and the notes, as JSON; VALUES is YAML
    helm.py refusals CHART VALUES…         why each of these values is refused, null where it is not, as JSON
    helm.py manifests CHART                the objects as YAML for those without Helm
    helm.py package CHART FOLDER           the path of the archive
    helm.py validate VERSION FILE          holds a JSON list of objects against the strict schemas of that version

What is refused is said on standard error, with exit code 1.
"""

import json
import re
import sys

import helm_python
import kubernetes_validate
import yaml


def render(chart, values="", name="limiter"):
    with helm_python.Chart.load(chart) as loaded:
        return loaded.render(helm_python.values_from_yaml(values or "{}"), name=name, namespace="models")


def refusal(chart, values):
    try:
        render(chart, values)
    except helm_python.HelmError as error:
        return str(error)


def documents(rendered):
    """Each object's text, in the order in which Kubernetes should get them: what pods mount goes first."""
    texts = []
    for path in sorted(rendered, key=lambda path: ("configmap" not in path, path)):
        if path.endswith(".yaml"):
            texts += [text.strip("\n") for text in re.split(r"^---$", rendered[path], flags=re.M) if text.strip()]
    return texts


def main(command, *arguments):
    if command == "lint":
        print(json.dumps(helm_python.lint(*arguments, strict=True)))
    elif command == "render":
        rendered = render(*arguments)
        notes = [text for path, text in rendered.items() if path.endswith("NOTES.txt")]
        print(json.dumps({"objects": [yaml.safe_load(text) for text in documents(rendered)], "notes": "".join(notes)}))
    elif command == "refusals":
        chart, *values = arguments
        print(json.dumps([refusal(chart, text) for text in values]))
    elif command == "manifests":
        # Helm's labels would be untrue of what kubectl applies, and so would the sum of a text that people edit there.
        own = r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n|^ +# Envoy reads .*\n +checksum/envoy: .*\n"
        texts = documents(render(*arguments, name="llm-rate-limit"))
        print("\n---\n".join(re.sub(own, "", text, flags=re.M) for text in texts))
    elif command == "package":
        chart, folder = arguments
        print(helm_python.package(chart, destination=folder))
    elif command == "validate":
        version, path = arguments
        with open(path) as file:
            items = json.load(file)
        for item in items:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"{item['kind']}: {'.'.join(str(part) for part in error.path)}: {error.message}")
    else:
        sys.exit(__doc__)


try:
    main(*sys.argv[1:])
except helm_python.HelmError as error:
    sys.exit(str(error))
