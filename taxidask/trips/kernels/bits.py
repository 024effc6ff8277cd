"""Words and vectors for the compiled parser: what numba has no spelling for, as a few lines of LLVM each.

Text is passed as the address of its first byte, not as an array: an array handed to a function counts references, which
costs more than reading a number. Whoever calls keeps the array alive, with room to read words past its end.

All of it is plain LLVM, which every processor gets compiled to its best instructions: a comparison of 64 bytes becomes
one AVX-512, two AVX2 or four SSE2 or NEON instructions.
"""

# ruff: noqa: ARG001 - numba fixes the parameters of intrinsics and of their code generators
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

_I64 = ir.IntType(64)
_I128 = ir.IntType(128)


def intrinsic(function: Callable[..., Any]) -> Any:
    """numba's decorator, without the types that make a checker take `typingctx` for an argument of the call."""
    return _intrinsic(function)


@intrinsic
def load8(typingctx: Any, address: Any) -> Any:
    """The byte at an address."""
    signature = types.uint8(types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(8).as_pointer()))

    return signature, codegen


@intrinsic
def load64(typingctx: Any, address: Any) -> Any:
    """Eight bytes from any address as one little-endian word."""
    signature = types.uint64(types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], _I64.as_pointer()), align=1)

    return signature, codegen


def _matches(builder: Any, chunk: Any, byte: int) -> Any:
    vector = ir.VectorType(ir.IntType(8), 64)
    equal = builder.icmp_unsigned("==", chunk, ir.Constant(vector, [byte] * 64))
    return builder.bitcast(equal, _I64)


@intrinsic
def match64(typingctx: Any, address: Any) -> Any:
    """Where the 64 bytes from an address are commas, line ends and quotes: three words of one bit a byte."""
    signature = types.UniTuple(types.uint64, 3)(types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        chunk = builder.load(builder.inttoptr(args[0], vector.as_pointer()), align=1)
        masks = [_matches(builder, chunk, byte) for byte in b',\n"']
        return context.make_tuple(builder, signature.return_type, masks)

    return signature, codegen


@intrinsic
def trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Number of zero bits below the lowest set bit of a word; 64 for 0."""
    signature = types.int64(types.uint64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

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
def bits_of_float(typingctx: Any, value: Any) -> Any:
    """The bits of a float64 as a word."""
    signature = types.uint64(types.float64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _I64)

    return signature, codegen


@intrinsic
def float_of_bits(typingctx: Any, word: Any) -> Any:
    """The float64 whose bits are a word's."""
    signature = types.float64(types.uint64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return signature, codegen
