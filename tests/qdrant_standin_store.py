"""The collections of the Qdrant stand-in: the real engine behind the JSON of the server's REST API."""

import json
import os
import shutil
import threading
from uuid import UUID

import qdrant_edge as engine

DATATYPES = {
    "float32": engine.VectorStorageDatatype.Float32,
    "float16": engine.VectorStorageDatatype.Float16,
    "uint8": engine.VectorStorageDatatype.Uint8,
}
DISTANCES = {"Cosine": engine.Distance.Cosine, "Dot": engine.Distance.Dot, "Euclid": engine.Distance.Euclid}


class Refused(Exception):
    """The request can't be done; `status` is the HTTP status the server gives."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Collection:
    """One collection in a folder: an engine shard with a write-ahead log, its settings, its payload indexes."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.Lock()
        self.settings = json.loads((folder / "settings.json").read_text())
        self.shard = engine.EdgeShard.load(str(folder / "engine"))

    @classmethod
    def create(cls, folder, settings):
        (folder / "engine").mkdir(parents=True)
        engine.EdgeShard.create(str(folder / "engine"), _config(settings)).close()
        # Last: a folder without its settings is the leftover of a killed process.
        _replace(folder / "settings.json", settings | {"indexes": {}})
        return cls(folder)

    def index(self, body):
        field, schema = body["field_name"], body["field_schema"]
        with self.lock:
            self._update(engine.UpdateOperation.create_field_index(field, _index(schema)))
            self.shard.flush()
            self.settings["indexes"][field] = schema
            _replace(self.folder / "settings.json", self.settings)

    def info(self):
        with self.lock:
            points = self.shard.info().points_count
        params = {key: self.settings[key] for key in ("vectors", "sparse_vectors") if key in self.settings}
        schema = {field: {"data_type": s["type"], "params": s} for field, s in self.settings["indexes"].items()}
        return {"status": "green", "points_count": points, "config": {"params": params}, "payload_schema": schema}

    def upsert(self, body):
        largest = self.settings.get("strict_mode_config", {}).get("upsert_max_batchsize", len(body["points"]))
        if len(body["points"]) > largest:
            raise Refused(400, f"Bad request: Upsert batch size exceeded. Limit: {largest}")
        points = [
            engine.Point(UUID(point["id"]), self._vectors(point["vector"]), point["payload"])
            for point in body["points"]
        ]
        with self.lock:
            self._update(engine.UpdateOperation.upsert_points(points))

    def set_payload(self, body):
        with self.lock:
            self._update(engine.UpdateOperation.set_payload_by_filter(self._filter(body["filter"]), body["payload"]))

    def delete(self, body):
        with self.lock:
            self._update(engine.UpdateOperation.delete_points_by_filter(self._filter(body["filter"])))

    def query(self, search):
        largest = self.settings.get("strict_mode_config", {}).get("max_query_limit", search["limit"])
        if search["limit"] > largest:
            raise Refused(400, f'Bad request: Limit exceeded {search["limit"]} > {largest} for "limit"')
        vector = self._vectors({search["using"]: search["query"]})[search["using"]]
        request = engine.QueryRequest(
            query=engine.Query.Nearest(vector, using=search["using"]),
            filter=self._filter(search.get("filter")),
            limit=search["limit"],
            with_payload=False,
        )
        with self.lock:
            hits = self.shard.query(request)
        return {"points": [{"id": str(hit.id), "version": 0, "score": hit.score} for hit in hits]}

    def retrieve(self, body):
        with self.lock:
            records = self.shard.retrieve([UUID(point) for point in body["ids"]], True, False)
        return [{"id": str(record.id), "payload": record.payload} for record in records]

    def scroll(self, body):
        request = engine.ScrollRequest(
            offset=UUID(body["offset"]) if body.get("offset") else None,
            limit=body["limit"],
            filter=self._filter(body.get("filter")),
            # All of it, or the fields named.
            with_payload=body.get("with_payload", True),
            with_vector=False,
        )
        with self.lock:
            records, following = self.shard.scroll(request)
        points = [{"id": str(record.id), "payload": record.payload} for record in records]
        return {"points": points, "next_page_offset": following and str(following)}

    def facet(self, body):
        if body["key"] not in self.settings["indexes"]:
            raise Refused(400, f'Bad request: Index required but not found for "{body["key"]}"')
        with self.lock:
            found = self.shard.facet(engine.FacetRequest(body["key"], limit=body["limit"], exact=body["exact"]))
        return {"hits": [{"value": hit.value, "count": hit.count} for hit in found.hits]}

    def count(self, body):
        with self.lock:
            return {"count": self.shard.count(engine.CountRequest(exact=True, filter=self._filter(body.get("filter"))))}

    def close(self):
        with self.lock:
            self.shard.close()

    def _update(self, operation):
        self.shard.update(operation)

    def _vectors(self, vectors):
        return {name: self._vector(name, value) for name, value in vectors.items()}

    def _vector(self, name, value):
        if isinstance(value, dict):
            return engine.SparseVector(value["indices"], [float(weight) for weight in value["values"]])
        size = self.settings["vectors"].get(name, {}).get("size")
        if size is None:
            raise Refused(400, f"Wrong input: Not existing vector name error: {name}")
        if len(value) != size:
            raise Refused(400, f"Wrong input: Vector dimension error: expected dim: {size}, got {len(value)}")
        return [float(part) for part in value]

    def _filter(self, body):
        if body is None:
            return None
        parts = {
            key: [self._condition(part) for part in body[key]] for key in ("must", "should", "must_not") if key in body
        }
        return engine.Filter(**parts)

    def _condition(self, body):
        if "has_id" in body:
            return engine.HasIdCondition({UUID(point) for point in body["has_id"]})
        if "key" not in body:
            return self._filter(body)
        if body["key"] not in self.settings["indexes"]:
            raise Refused(400, f'Bad request: Index required but not found for "{body["key"]}"')
        return engine.FieldCondition(key=body["key"], match=_match(body["match"]))


class Store:
    """All collections and aliases in a folder; what a request has been told is done outlives a kill."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.Lock()
        self.aliases = {}
        self.collections = {}
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "aliases.json").exists():
            self.aliases = json.loads((folder / "aliases.json").read_text())
        for sub in (folder / "collections").glob("*"):
            if (sub / "settings.json").exists():
                self.collections[sub.name] = Collection(sub)
            else:
                shutil.rmtree(sub)

    def find(self, name):
        found = self.collections.get(self.aliases.get(name, name))
        if found is None:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return found

    def create(self, name, settings):
        with self.lock:
            if name in self.collections:
                raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
            self.collections[name] = Collection.create(self.folder / "collections" / name, settings)

    def drop(self, name):
        with self.lock:
            dropped = self.collections.pop(name, None)
            self._set_aliases({alias: target for alias, target in self.aliases.items() if target != name})
        if dropped is not None:
            dropped.close()
            (dropped.folder / "settings.json").unlink()
            shutil.rmtree(dropped.folder)
        return dropped is not None

    def change_aliases(self, actions):
        with self.lock:
            changed = dict(self.aliases)
            for action in actions:
                if "delete_alias" in action:
                    changed.pop(action["delete_alias"]["alias_name"], None)
                else:
                    created = action["create_alias"]
                    if created["collection_name"] not in self.collections:
                        raise Refused(404, f"Not found: Collection `{created['collection_name']}` doesn't exist!")
                    changed[created["alias_name"]] = created["collection_name"]
            self._set_aliases(changed)

    def close(self):
        for collection in self.collections.values():
            collection.close()

    def _set_aliases(self, aliases):
        _replace(self.folder / "aliases.json", aliases)
        self.aliases = aliases


def _config(settings):
    vectors = {
        name: engine.EdgeVectorParams(
            size=params["size"],
            distance=DISTANCES[params["distance"]],
            datatype=DATATYPES[params.get("datatype", "float32")],
        )
        for name, params in settings["vectors"].items()
    }
    sparse = {
        name: engine.EdgeSparseVectorParams(modifier=engine.Modifier.Idf if params.get("modifier") == "idf" else None)
        for name, params in settings.get("sparse_vectors", {}).items()
    }
    return engine.EdgeConfig(vectors=vectors, sparse_vectors=sparse)


def _index(schema):
    if schema["type"] == "keyword":
        return engine.KeywordIndexParams(prefix=schema.get("prefix", False))
    return engine.IntegerIndexParams(lookup=schema["lookup"], range=schema["range"])


def _match(body):
    if "any" in body:
        return engine.MatchAny(body["any"])
    if "prefix" in body:
        return engine.MatchPrefix(body["prefix"])
    return engine.MatchValue(body["value"])


def _replace(path, document):
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(document))
    os.replace(temporary, path)
