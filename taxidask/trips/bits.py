"""Words and vectors for the compiled parser: what numba has no spelling for, as a few lines of LLVM each.

All of it is plain LLVM, which every processor gets compiled to its best instructions: a comparison of 64 bytes becomes
one AVX-512, two AVX2 or four SSE2 or NEON instructions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I64 = ir.IntType(64)
_I128 = ir.IntType(128)


def _address(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [offset])


@intrinsic
def load64(typingctx: Any, array: Any, offset: Any) -> Any:
    """Eight bytes of a uint8 array from any offset, as one little-endian word. The caller keeps eight bytes there."""
    signature = types.uint64(array, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = _address(context, builder, signature.args[0], args[0], args[1])
        return builder.load(builder.bitcast(where, _I64.as_pointer()), align=1)

    return signature, codegen


def _matches(builder: Any, chunk: Any, byte: int) -> Any:
    vector = ir.VectorType(ir.IntType(8), 64)
    equal = builder.icmp_unsigned("==", chunk, ir.Constant(vector, [byte] * 64))
    return builder.bitcast(equal, _I64)


@intrinsic
def match64(typingctx: Any, array: Any, offset: Any) -> Any:
    """Where the 64 bytes from an offset are commas, line ends and quotes: three words of one bit a byte."""
    signature = types.UniTuple(types.uint64, 3)(array, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        where = _address(context, builder, signature.args[0], args[0], args[1])
        chunk = builder.load(builder.bitcast(where, vector.as_pointer()), align=1)
        masks = [_matches(builder, chunk, byte) for byte in b',\n"']
        return context.make_tuple(builder, signature.return_type, masks)

    return signature, codegen


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Number of zero bits below the lowest set bit of a word that is not 0."""
    signature = types.int64(types.uint64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return signature, codegen


@intrinsic
def leading_zeros(typingctx: Any, word: Any) -> Any:
    """Number of zero bits above the highest set bit of a word that is not 0."""
    signature = types.int64(types.uint64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 1))

    return signature, codegen


@intrinsic
def set_bits(typingctx: Any, word: Any) -> Any:
    """Number of bits set in a word."""
    signature = types.int64(types.uint64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return signature, codegen


@intrinsic
def multiply128(typingctx: Any, a: Any, b: Any) -> Any:
    """High and low word of the product of two words."""
    signature = types.UniTuple(types.uint64, 2)(types.uint64, types.uint64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.mul(builder.zext(args[0], _I128), builder.zext(args[1], _I128))
        high = builder.trunc(builder.lshr(product, ir.Constant(_I128, 64)), _I64)
        return context.make_tuple(builder, signature.return_type, [high, builder.trunc(product, _I64)])

    return signature, codegen


@intrinsic
def float_of_bits(typingctx: Any, word: Any) -> Any:
    """The float64 whose bits are a word's."""
    signature = types.float64(types.uint64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return signature, codegen
