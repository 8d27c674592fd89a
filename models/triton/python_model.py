"""The model for Triton's Python backend: the graph beside this file in ONNX Runtime on CPU.

Triton's stub runs it, in an interpreter that has NumPy below 2 and onnxruntime: with NumPy 2 the stub of
Triton 2.51 hands back empty tensors.
"""

import os
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]


class TritonPythonModel:
    """One session; Triton calls it with the requests that it joined."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph."""
        if int(np.__version__.split(".")[0]) >= 2:
            raise pb_utils.TritonModelException(f"NumPy {np.__version__} returns empty tensors here; install numpy<2")
        folder = os.path.join(args["model_repository"], args["model_version"])
        options = onnxruntime.SessionOptions()
        # Threads that spin while they wait take the cores from Triton and from whoever else is on the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            os.path.join(folder, "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests at once; Triton joins only requests of one length."""
        ids, mask = (
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in ("input_ids", "attention_mask")
        )
        try:
            (vectors,) = self._session.run(
                ["vectors"], {"input_ids": np.concatenate(ids), "attention_mask": np.concatenate(mask)}
            )
        except Exception as error:  # one batch fails its requests and leaves the model up
            failed = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
            return [failed for _ in requests]
        ends = np.cumsum([len(rows) for rows in ids])[:-1]
        return [
            pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("vectors", np.ascontiguousarray(rows))])
            for rows in np.split(vectors, ends)
        ]
