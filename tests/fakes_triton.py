"""A server that speaks Triton's gRPC protocol and does what a test tells it: refuse, hang, or answer nonsense."""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.core.adapters.triton_model import ID_PARAMETER, version_of

DIM = 8
MODEL_ID = "fake@0123456789ab"


def row_of(tokens):
    """Return the vector the fake gives for tokens; the padding does not count."""
    row = np.random.default_rng(abs(hash(tuple(tokens)))).standard_normal(DIM).astype("<f4")
    return row / np.linalg.norm(row)


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """`faults` are used up one per request, then every request is answered; `always` is used for every one."""

    def __init__(self):
        self.model_id = MODEL_ID
        self.version = None
        self.dim = DIM
        self.max_texts = 1000
        self.faults = deque()
        self.always = None
        self.requests = []
        self.asked = 0
        self.released = threading.Event()

    def ModelConfig(self, request, context):  # noqa: N802
        self.asked += 1
        answer = service_pb2.ModelConfigResponse()
        answer.config.name = request.name
        answer.config.max_batch_size = self.max_texts
        answer.config.parameters[ID_PARAMETER].string_value = self.model_id
        answer.config.output.add(name="vectors", dims=[self.dim])
        return answer

    def ModelInfer(self, request, context):  # noqa: N802
        self.requests.append(request)
        fault = self.always or (self.faults.popleft() if self.faults else None)
        answer = fault(self, request, context) if fault else None
        return self.answer(request) if answer is None else answer

    def answer(self, request, rows=None):
        ids, mask = arrays(request)
        if rows is None:
            rows = np.array([row_of(row[kept > 0]) for row, kept in zip(ids, mask, strict=True)])
        answer = service_pb2.ModelInferResponse(
            model_name=request.model_name, model_version=self.version or version_of(self.model_id)
        )
        answer.outputs.add(name="vectors", datatype="FP32", shape=rows.shape)
        answer.raw_output_contents.append(rows.astype("<f4").tobytes())
        return answer


def arrays(request):
    """Return input_ids and attention_mask of a request."""
    return [
        np.frombuffer(raw, "<i8").reshape(tensor.shape)
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    ]


def refuse(code, details):
    """Return a fault that ends a request with a status."""
    return lambda server, request, context: context.abort(code, details)


def rejected():
    """Return the fault of a full queue, in Triton's words."""
    return refuse(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")


def hang(server, request, context):
    """Answer when the test ends."""
    server.released.wait(30)


def no_memory_above(texts):
    """Return the fault of a device that has room for so many texts, in ONNX Runtime's words."""

    def fault(server, request, context):
        if request.inputs[0].shape[0] > texts:
            context.abort(grpc.StatusCode.INTERNAL, "onnx runtime error 6: Failed to allocate memory for buffer")

    return fault


def changed(change):
    """Return a fault that answers with `change` of the right rows."""

    def fault(server, request, context):
        right = server.answer(request)
        rows = np.frombuffer(right.raw_output_contents[0], "<f4").reshape(right.outputs[0].shape)
        return server.answer(request, change(rows.copy()))

    return fault


def edited(edit):
    """Return a fault that answers with an `edit` of the right response."""

    def fault(server, request, context):
        response = server.answer(request)
        edit(response)
        return response

    return fault


@contextmanager
def running(fake, port=0):
    """Serve a fake on a loopback port and give its address."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        fake.released.set()
        server.stop(None).wait()
