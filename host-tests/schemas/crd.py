"""The published schemas of Istio's and Envoy Gateway's resources, and a check against them.

    crd.py fetch FOLDER                  fetch the pinned packages, write FOLDER/schemas.json
    crd.py check FOLDER < documents      check a JSON list of resources; print each finding, exit 1 if there is one

Both projects publish their resources as packages of models that are generated from their definitions: Istio's are on
PyPI as pydantic classes, Envoy Gateway's on npm as TypeScript declarations. Here both become one small JSON Schema
dialect (type, properties, required, enum, pattern, lengths, items, values, anyOf). Nothing of the packages is run or
installed, and a field that a schema does not name is a finding: the API server would drop it in silence.

Rules that definitions state as CEL expressions are not part of the packages and are not checked. Each package is held
to its SHA-256. Only Python's standard library, pip and npm are needed.
"""

import ast
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

WHEEL = ("cloudcoil-models-istio", "1.31.0.1", "c5b6c11a25d8848ad5bbb18a010b45a7569d3cde8b047074ad4d4b87a5d5645a")
NPM = [
    ("@kubernetes-models/envoy-gateway", "2.0.0", "adf6665b234ae7abd655a82ae6729e67180b9e5ebf47f4937da73cdf73cb1288"),
    ("@kubernetes-models/gateway-api", "2.0.0", "505c284b74d2f71803803543816abe3fe58e4b0ec6d98f3bd4989726d469b81b"),
]
ISTIO = {
    "WasmPlugin": "extensions/v1alpha1.py",
    "TrafficExtension": "extensions/v1alpha1.py",
    "EnvoyFilter": "networking/v1alpha3.py",
    "DestinationRule": "networking/v1.py",
    "VirtualService": "networking/v1.py",
}
GATEWAY = ["EnvoyExtensionPolicy", "EnvoyProxy", "BackendTrafficPolicy"]


def fetch(folder):
    folder.mkdir(parents=True, exist_ok=True)
    pins = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    done = folder / "pins"
    if done.exists() and done.read_text() == pins:
        return
    name, version, sha256 = WHEEL
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
    # The wheel asks for a newer Python than most machines have; it is only read.
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--only-binary=:all:", "--python-version", "3.14", "--require-hashes", "-d", folder, "-r", requirements]
    subprocess.run(pip, check=True)
    schemas = {}
    wheel = next(folder.glob("cloudcoil_models_istio-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        for kind, path in ISTIO.items():
            module = ast.parse(archive.read(f"cloudcoil/models/istio/{path}"))
            schemas[kind] = Pydantic(module).resource(kind)
    declarations = {}
    for name, version, sha256 in NPM:
        pack = ["npm", "pack", "--silent", f"{name}@{version}", "--pack-destination", folder]
        subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
        path = folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            path.unlink()
            sys.exit(f"{path.name} has the SHA-256 {found}, not {sha256}: not the package that was looked at")
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                if member.name.endswith(".d.ts"):
                    declarations.update(declared(archive.extractfile(member).read().decode()))
    for kind in GATEWAY:
        schemas[kind] = TypeScript(declarations).resource(kind)
    partial = folder / "schemas.partial"
    partial.write_text(json.dumps(schemas))
    partial.rename(folder / "schemas.json")
    done.write_text(pins)


class Pydantic:
    """Pydantic classes, read from their source, as schemas."""

    SCALARS = {"str": "string", "Base64Str": "string", "int": "integer", "float": "number", "bool": "boolean"}

    def __init__(self, module):
        self.classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
        self.aliases = {
            node.targets[0].id: node.value.args[1]
            for node in module.body
            if isinstance(node, ast.Assign) and getattr(getattr(node.value, "func", None), "id", "") == "TypeAliasType"
        }

    def resource(self, kind):
        return self.model(self.classes[kind])

    def model(self, node):
        base = node.bases[0]
        if isinstance(base, ast.Subscript) and base.value.id == "RootModel":
            return self.of(base.slice)
        properties, required = {}, []
        for field in node.body:
            if not isinstance(field, ast.AnnAssign) or "ClassVar" in ast.unparse(field.annotation):
                continue
            options = self.options(field.annotation)
            name = options.get("alias", field.target.id)
            properties[name] = self.of(field.annotation)
            if field.value is None:
                required.append(name)
        return {"type": "object", "properties": properties, "required": required}

    @staticmethod
    def options(node):
        if not (isinstance(node, ast.Subscript) and node.value.id == "Annotated"):
            return {}
        field = node.slice.elts[1]
        return {word.arg: ast.literal_eval(word.value) for word in getattr(field, "keywords", []) if word.arg}

    def of(self, node):
        match node:
            case ast.BinOp(op=ast.BitOr()):
                branches = [one for one in self.branches(node) if not (isinstance(one, ast.Constant) and one.value is None)]
                schemas = [self.of(branch) for branch in branches]
                return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
            case ast.Subscript(value=ast.Name(id="Annotated")):
                schema = dict(self.of(node.slice.elts[0]))
                limits = {"max_length": "max", "min_length": "min", "pattern": "pattern", "ge": "ge", "le": "le"}
                schema.update({limits[k]: v for k, v in self.options(node).items() if k in limits})
                return schema
            case ast.Subscript(value=ast.Name(id="Literal")):
                values = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return {"enum": [ast.literal_eval(value) for value in values]}
            case ast.Subscript(value=ast.Name(id="list")):
                return {"type": "array", "items": self.of(node.slice)}
            case ast.Subscript(value=ast.Name(id="dict")):
                return {"type": "object", "values": self.of(node.slice.elts[1])}
            case ast.Name(id=name) if name in self.SCALARS:
                return {"type": self.SCALARS[name]}
            case ast.Name(id=name) if name in self.aliases:
                return self.of(self.aliases[name])
            case ast.Name(id=name) if name in self.classes:
                return self.model(self.classes[name])
            case ast.Constant(value=str(name)):
                return self.of(ast.parse(name, mode="eval").body)
            case ast.Name(id="Any" | "ObjectMeta" | "AwareDatetime"):
                return {}
        raise ValueError(f"unknown annotation {ast.unparse(node)}")

    def branches(self, node):
        if isinstance(node, ast.BinOp):
            return self.branches(node.left) + self.branches(node.right)
        return [node]


def declared(text):
    """Interfaces and types of one declaration file, by the name under which other files import them."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    found = re.search(r"export type \{ (I\w+)(?: as (I\w+))?", text)
    if not found:
        return {}
    name = found.group(2) or found.group(1)
    interface = re.search(rf"export interface {found.group(1)}(?: extends ([\w, ]+))? \{{(.*?)\n\}}", text, flags=re.S)
    if interface:
        return {name: (interface.group(1), interface.group(2))}
    alias = re.search(rf"export type {found.group(1)} = (.*?);\n", text, flags=re.S)
    return {name: alias.group(1)} if alias else {}


class TypeScript:
    """TypeScript interfaces as schemas; types of other packages (metadata, free JSON) take anything."""

    def __init__(self, declarations):
        self.declarations = declarations

    def resource(self, kind):
        return self.named(f"IComGithubEnvoyproxyGatewayApiV1alpha1{kind}")

    def named(self, name):
        declaration = self.declarations.get(name)
        if isinstance(declaration, str):
            return self.of(declaration)
        if declaration is None:
            return {}
        schema = {"type": "object", "properties": {}, "required": []}
        for base in filter(None, (declaration[0] or "").split(", ")):
            if base != "TypeMeta":
                inherited = self.named(base)
                schema["properties"].update(inherited["properties"])
                schema["required"] += inherited["required"]
        for text in filter(str.strip, re.split(r'\n(?=    ")', declaration[1])):
            field = re.fullmatch(r'"([^"]+)"(\?)?: (.*);', text.strip(), flags=re.S)
            if not field:
                raise ValueError(f"cannot read {name}: {text}")
            schema["properties"][field.group(1)] = self.of(field.group(3))
            if not field.group(2):
                schema["required"].append(field.group(1))
        return schema

    def of(self, text):
        text = text.strip()
        if array := re.fullmatch(r"Array<(.*)>", text):
            return {"type": "array", "items": self.of(array.group(1))}
        if mapping := re.fullmatch(r"\{\s*\[key: string\]: (.*?);?\s*\}", text, flags=re.S):
            return {"type": "object", "values": self.of(mapping.group(1))}
        if "|" in text:
            schemas = [self.of(branch) for branch in text.split("|")]
            if all("enum" in schema for schema in schemas):
                return {"enum": [value for schema in schemas for value in schema["enum"]]}
            return {"anyOf": schemas}
        if text in ("string", "number", "boolean", "object"):
            return {"type": text}
        if re.fullmatch(r'"[^"]*"|\d+', text):
            return {"enum": [json.loads(text)]}
        if re.fullmatch(r"I\w+", text):
            return self.named(text)
        if text in ("any", "unknown", "null", "{}"):
            return {}
        raise ValueError(f"unknown type {text}")


TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def findings(value, schema, path):
    """What is wrong with a value, each as `path: why`."""
    if "anyOf" in schema:
        each = [findings(value, branch, path) for branch in schema["anyOf"]]
        return min(each, key=len)
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: {value!r} is none of {', '.join(map(str, schema['enum']))}"]
    wanted = schema.get("type")
    if wanted and (not isinstance(value, TYPES[wanted]) or (wanted != "boolean" and isinstance(value, bool))):
        return [f"{path}: {type(value).__name__} instead of {wanted}"]
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return [f"{path}: {value!r} does not match {schema['pattern']}"]
    if isinstance(value, (str, list)) and not schema.get("min", 0) <= len(value) <= schema.get("max", len(value)):
        return [f"{path}: length {len(value)} is out of {schema.get('min', 0)} to {schema.get('max')}"]
    if isinstance(value, (int, float)) and not schema.get("ge", value) <= value <= schema.get("le", value):
        return [f"{path}: {value} is out of {schema.get('ge')} to {schema.get('le')}"]
    found = []
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += findings(item, schema.get("items", {}), f"{path}[{index}]")
    if isinstance(value, dict) and "values" in schema:
        for name, item in value.items():
            found += findings(item, schema["values"], f"{path}.{name}")
    if isinstance(value, dict) and "properties" in schema:
        for name, item in value.items():
            if name not in schema["properties"]:
                found.append(f"{path}.{name}: the schema has no such field")
            else:
                found += findings(item, schema["properties"][name], f"{path}.{name}")
        found += [f"{path}.{name}: missing" for name in schema["required"] if name not in value]
    return found


def check(folder):
    schemas = json.loads((folder / "schemas.json").read_text())
    found = []
    for document in json.load(sys.stdin):
        kind = document.get("kind")
        if kind not in schemas:
            found.append(f"{kind}: no schema of that kind")
        else:
            found += findings(document, schemas[kind], kind)
    print("\n".join(found))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fetch", folder]:
            fetch(Path(folder))
        case ["check", folder]:
            check(Path(folder))
        case _:
            sys.exit(__doc__)
