"""The offsets of a lowered network: every read finds what its tensor's own writers left there."""

import pytest
from helpers.networks import SIZE

from edgevision import target
from edgevision.compiler import build
from edgevision.compiler.lower import lower
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.graph import ir
from edgevision.graph.integer import integerize
from edgevision.machine import resolve


@pytest.mark.parametrize("kind", ["fp32", "w8a8", "w8"])
def test_no_read_finds_another_tensor_in_its_place(kind, request, monkeypatch):
    monkeypatch.setattr(build, "compile_kernels", lambda *_, **__: ())
    host = resolve(target.load("host"))
    builder = lower(integerize(ir.read(request.getfixturevalue(f"small_{kind}"))), simd_of(host), tvm_target(host))
    program = build.program_of(builder, host, None)
    owner = [-1] * program.arena_bytes
    reads = 0
    for call, step in zip(builder.calls, program.steps, strict=True):
        tensors = [program.tensors[index] for index in step.tensors]
        pairs = list(zip(call.storages, tensors, strict=True))
        outputs = pairs[len(pairs) - call.written :]
        # A kernel's output is its own even while it reads: its inputs must survive the writing.
        for storage, tensor in outputs:
            if tensor.place == "arena":
                owner[tensor.offset : tensor.offset + tensor.nbytes] = [storage] * tensor.nbytes
        for storage, tensor in pairs[: len(pairs) - call.written]:
            if tensor.place == "arena":
                reads += 1
                assert set(owner[tensor.offset : tensor.offset + tensor.nbytes]) == {storage}, step.label
    assert reads > 10
    assert builder.graph.shape(builder.graph.inputs[0])[2:] == (SIZE, SIZE)
