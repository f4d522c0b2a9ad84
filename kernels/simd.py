"""A vector type for numba kernels: 16 lanes where the processor has AVX-512, else 8.

A vector is one register of float32 with AVX-512 and AVX2 and two of NEON, of which there are 32, 16 and 32: what the
kernels hold at a time fits all of them. float64 takes twice as many, and LLVM maps any number to what there is.

numba's own loops are vectorised only where LLVM can prove that no arrays overlap; here loads, stores and fused
multiply-adds are written out. A kernel handles addresses (integers) and `proto`, a zero that carries the element
type, float32 or float64. `exp2`, `softplus` and `sigmoid` are polynomials, no library is called for them.
"""

import operator

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, config, types
from numba.core.datamodel import models
from numba.core.extending import intrinsic, overload, register_model


def _lanes() -> int:
    """Of the processor that numba compiles for: this one, or what NUMBA_CPU_FEATURES says."""
    features = config.CPU_FEATURES or binding.get_host_cpu_features().flatten()
    return 16 if '+avx512f' in features.split(',') else 8


LANES = _lanes()
LOG2E = float(np.log2(np.e))
_SINGLE_LOG2E = float(np.float32(LOG2E))


class Vector(types.Type):
    """16 lanes of a float type."""

    def __init__(self, element: types.Float):
        self.element = element
        super().__init__(name=f'Vector({element})')


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(_scalar(fe_type), LANES))


def _scalar(vector: Vector) -> ir.Type:
    return ir.FloatType() if vector.element.bitwidth == 32 else ir.DoubleType()


def _suffix(value: ir.Value) -> str:
    """LLVM's name of a vector's type inside an intrinsic's name."""
    return f'v{LANES}f32' if value.type.element == ir.FloatType() else f'v{LANES}f64'


def _call(builder, name: str, *args) -> ir.Value:
    """Call the LLVM intrinsic `name` on vectors of one type."""
    function = ir.FunctionType(args[0].type, [a.type for a in args])
    callee = cgutils.get_or_insert_function(builder.module, function, f'llvm.{name}.{_suffix(args[0])}')
    return builder.call(callee, args)


def _const(like: ir.Value, number: float) -> ir.Constant:
    return ir.Constant(like.type, [number] * LANES)


def _splat(builder, scalar: ir.Value) -> ir.Value:
    vector = ir.VectorType(scalar.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _pointer(context, builder, address: ir.Value, type_: ir.Type) -> ir.Value:
    return builder.inttoptr(address, type_.as_pointer())


def size_of(proto) -> int:
    """Bytes of one lane, a constant in compiled code."""
    raise NotImplementedError('compiled code only')


# memory


@overload(size_of)
def _size_of(proto):
    size = proto.bitwidth // 8
    return lambda proto: size


@intrinsic
def load(typingctx, proto, address):
    """The vector at `address`."""
    result = Vector(proto)

    def codegen(context, builder, signature, args):
        type_ = context.get_value_type(result)
        return builder.load(_pointer(context, builder, args[1], type_), align=proto.bitwidth // 8)

    return result(proto, address), codegen


@intrinsic
def store(typingctx, address, vector):
    """Write `vector` at `address`."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, args[0], args[1].type)
        builder.store(args[1], pointer, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(address, vector), codegen


@intrinsic
def splat(typingctx, proto, address):
    """The scalar at `address` in every lane."""
    result = Vector(proto)

    def codegen(context, builder, signature, args):
        return _splat(builder, builder.load(_pointer(context, builder, args[1], _scalar(result))))

    return result(proto, address), codegen


@intrinsic
def fill(typingctx, scalar):
    """`scalar` in every lane."""
    return Vector(scalar)(scalar), lambda context, builder, signature, args: _splat(builder, args[0])


@intrinsic
def load_scalar(typingctx, proto, address):
    """The scalar at `address`."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(context, builder, args[1], context.get_value_type(proto)))

    return proto(proto, address), codegen


@intrinsic
def store_scalar(typingctx, address, scalar):
    """Write `scalar` at `address`."""

    def codegen(context, builder, signature, args):
        builder.store(args[1], _pointer(context, builder, args[0], args[1].type))
        return context.get_dummy_value()

    return types.void(address, scalar), codegen


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line at `address` ahead of its use."""

    def codegen(context, builder, signature, args):
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        callee = cgutils.get_or_insert_function(builder.module, function, 'llvm.prefetch.p0')
        builder.call(callee, [_pointer(context, builder, args[0], ir.IntType(8)), flag(0), flag(2), flag(1)])
        return context.get_dummy_value()

    return types.void(address), codegen


# arithmetic


def _binary(instruction: str):
    @intrinsic
    def operation(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return getattr(builder, instruction)(*args)

        return a(a, b), codegen

    return operation


_add, _sub, _mul = _binary('fadd'), _binary('fsub'), _binary('fmul')


def _overload(python_operator, operation) -> None:
    @overload(python_operator)
    def _(a, b):
        if isinstance(a, Vector) and a == b:
            return lambda a, b: operation(a, b)


_overload(operator.add, _add)
_overload(operator.sub, _sub)
_overload(operator.mul, _mul)


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once."""
    return a(a, b, c), lambda context, builder, signature, args: _call(builder, 'fma', *args)


@intrinsic
def total(typingctx, a):
    """The sum of the lanes, in a fixed tree order."""

    def codegen(context, builder, signature, args):
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            halves = [
                builder.shuffle_vector(
                    value, value, ir.Constant(ir.VectorType(ir.IntType(32), width), [start + i for i in range(width)])
                )
                for start in (0, width)
            ]
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.IntType(32)(0))

    return a.element(a), codegen


@intrinsic
def largest(typingctx, a, most):
    """The larger of |a| and `most`, lane by lane; a NaN in `a` counts for nothing."""

    def codegen(context, builder, signature, args):
        size = _call(builder, 'fabs', args[0])
        return builder.select(builder.fcmp_ordered('>', size, args[1]), size, args[1])

    return a(a, most), codegen


@intrinsic
def within(typingctx, a, limit):
    """Whether no lane is above the scalar `limit`, or NaN."""

    def codegen(context, builder, signature, args):
        lanes = builder.fcmp_ordered('<=', args[0], _splat(builder, args[1]))
        bits = ir.IntType(LANES)
        return builder.icmp_unsigned('==', builder.bitcast(lanes, bits), bits(2**LANES - 1))

    return types.boolean(a, limit), codegen


# exponentials

# 2^f = 1 + f p(f) on [-1/2, 1/2], relative error 2e-9 (float32); one degree less has 9e-8, which a slowly decaying
# state multiplies by its memory length. float64: the Taylor series.
_EXP2 = {
    32: (0.6931471824645996, 0.24022647738456726, 0.055503323674201965, 0.00961843691766262)
    + (0.0013398875016719103, 0.00015353360504377633),
    64: tuple(float(np.log(2.0) ** i / np.prod(np.arange(1.0, i + 1))) for i in range(1, 15)),
}


def _log1p_coefficients() -> tuple[float, ...]:
    """log(1 + e) / e on [0, 1] as a polynomial of degree 18, relative error 3e-15."""
    series = np.polynomial.Chebyshev.interpolate(lambda e: np.log1p(e) / e, 18, [0.0, 1.0])
    return tuple(series.convert(kind=np.polynomial.Polynomial).coef.tolist())


# log(1 + e) = e p(e) on [0, 1], relative error 8e-10 (float32).
_LOG1P = {
    32: (1.0, -0.4999998211860657, 0.33332559466362, -0.24987269937992096, 0.19890744984149933)
    + (-0.16105680167675018, 0.12418411672115326, -0.08244141191244125, 0.04147793725132942)
    + (-0.013407392427325249, 0.0020302138291299343),
    64: _log1p_coefficients(),
}

_MANTISSA = {32: 23, 64: 52}  # its bits


def _bits(value: ir.Value) -> int:
    return 32 if value.type.element == ir.FloatType() else 64


def _horner(builder, x: ir.Value, coefficients) -> ir.Value:
    result = _const(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = _call(builder, 'fma', result, x, _const(x, c))
    return result


def _even_odd(builder, x: ir.Value, coefficients) -> ir.Value:
    """The polynomial in two chains of half the length, for where a long one would be waited for."""
    square = builder.fmul(x, x)
    even, odd = (_horner(builder, square, coefficients[i::2]) for i in (0, 1))
    return _call(builder, 'fma', odd, x, even)


def _magic(like: ir.Value) -> ir.Constant:
    """Added to x it leaves round(x) in the low bits."""
    return _const(like, 1.5 * 2.0 ** _MANTISSA[_bits(like)])


def _scaled_power(builder, f: ir.Value, shifted: ir.Value, evaluate=_horner) -> ir.Value:
    """2^(f + n) with |f| <= 1/2 and n in the low bits of `shifted`; `evaluate` computes the polynomial."""
    bits = _bits(f)
    integers = ir.VectorType(ir.IntType(bits), LANES)
    power = evaluate(builder, f, (1.0, *_EXP2[bits]))
    exponent = builder.shl(builder.bitcast(shifted, integers), ir.Constant(integers, [_MANTISSA[bits]] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(power, integers), exponent), f.type)


def _exp2(builder, x: ir.Value) -> ir.Value:
    """2^x: round x to an integer n, a polynomial in x - n, n added to the exponent bits; NaN stays NaN.

    x is limited to what a normal number's exponent holds (one above: infinity): denormals would be slow.
    """
    bias = 127 if _bits(x) == 32 else 1023
    low, high = _const(x, 1.0 - bias), _const(x, 1.0 + bias)
    x = builder.select(builder.fcmp_ordered('<', x, low), low, x)
    x = builder.select(builder.fcmp_ordered('>', x, high), high, x)
    magic = _magic(x)
    shifted = builder.fadd(x, magic)
    return _scaled_power(builder, builder.fsub(x, builder.fsub(shifted, magic)), shifted)


def _round_product(builder, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
    """a b as f + n, f in [-1/2, 1/2] and n in the low bits of the second; the product is never rounded."""
    magic = _magic(a)
    shifted = _call(builder, 'fma', a, b, magic)
    return _call(builder, 'fma', a, b, builder.fsub(magic, shifted)), shifted


def _exp_minus_abs(builder, v: ir.Value) -> ir.Value:
    """exp(-|v|), with log2(e) to twice the precision: rounding it would cost |v| ulps."""
    high = _SINGLE_LOG2E if _bits(v) == 32 else LOG2E
    most = _const(v, 85.0)  # exp(-85) is nothing; -inf would give inf - inf
    x = _call(builder, 'fabs', v)
    x = builder.select(builder.fcmp_ordered('>', x, most), most, x)
    f, shifted = _round_product(builder, x, _const(v, -high))
    f = _call(builder, 'fma', x, _const(v, high - LOG2E), f)
    return _scaled_power(builder, f, shifted, _even_odd)


@intrinsic
def exp2(typingctx, x):
    """2 to the power x."""
    return x(x), lambda context, builder, signature, args: _exp2(builder, args[0])


@intrinsic
def exp2_product(typingctx, a, b):
    """2 to the power a b, where |a b| <= 126."""

    def codegen(context, builder, signature, args):
        return _scaled_power(builder, *_round_product(builder, *args))

    return a(a, b), codegen


@intrinsic
def softplus(typingctx, v):
    """v where v > 20, else log(1 + exp(v)) = max(v, 0) + log1p(exp(-|v|))."""

    def codegen(context, builder, signature, args):
        (x,) = args
        e = _exp_minus_abs(builder, x)
        tail = builder.fmul(e, _even_odd(builder, e, _LOG1P[_bits(x)]))
        positive = builder.select(builder.fcmp_ordered('<', x, _const(x, 0.0)), _const(x, 0.0), x)
        return builder.select(builder.fcmp_ordered('>', x, _const(x, 20.0)), x, builder.fadd(positive, tail))

    return v(v), codegen


@intrinsic
def sigmoid(typingctx, v):
    """softplus' derivative: 1 where v > 20, else 1 / (1 + exp(-v))."""

    def codegen(context, builder, signature, args):
        (x,) = args
        e = _exp_minus_abs(builder, x)
        one = _const(x, 1.0)
        top = builder.select(builder.fcmp_ordered('<', x, _const(x, 0.0)), e, one)
        result = builder.fdiv(top, builder.fadd(one, e))
        return builder.select(builder.fcmp_ordered('>', x, _const(x, 20.0)), one, result)

    return v(v), codegen
