"""Names that torch.save writes into a .bin file, which PyTorch's documentation does not describe.

If a future PyTorch writes other names, the header of such a file cannot be read without loading
it: then torch.load reads a file on this disk in its restricted mode, and a file on the Hub is
checked only after its download.
"""

from __future__ import annotations

__all__ = [
    "REBUILD_PARAMETER",
    "REBUILD_TENSOR",
    "REBUILD_TYPED",
    "STORAGES",
    "TYPES",
    "UNTYPED",
]

# The functions that a pickle names for a tensor, for one of `TYPES`, and for a parameter.
REBUILD_TENSOR = ("torch._utils", "_rebuild_tensor_v2")
REBUILD_TYPED = ("torch._utils", "_rebuild_tensor_v3")
REBUILD_PARAMETER = ("torch._utils", "_rebuild_parameter")

# The class of a tensor's storage, in the module `torch`, and the type of its entries.
STORAGES = {
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}

# The class of a storage of bytes, which tensors of other types have. Their types are in `torch`.
UNTYPED = ("torch.storage", "UntypedStorage")
TYPES = (
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("uint16", "uint32", "uint64"),
)
