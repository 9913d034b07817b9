#pragma once

#include <weft/core/dtype/bf16.hpp>
#include <weft/core/dtype/convert.hpp>
#include <weft/core/dtype/fp16.hpp>

/// Element types in memory and in registers.
///
///   register T    storage S
///   float         float, bf16, fp16
///   double        double, float
///   int32_t       int32_t
///
/// `load_as<T, A>(p)` and `store_as<A>(p, v)` convert one register on the way. bf16 and fp16 round
/// to nearest even and agree bit for bit with the scalar conversions of these types on every
/// instruction set. The partial forms take the first n lanes, 0 <= n <= width: what is not loaded
/// is zero, and no memory beyond them is read or written. No alignment is asked for.
namespace weft {

/// Storage S can be computed with in registers of T.
template <class S, class T>
concept StoredAs =
    (std::same_as<T, float> &&
     (std::same_as<S, float> || std::same_as<S, bf16> || std::same_as<S, fp16>)) ||
    (std::same_as<T, double> && (std::same_as<S, double> || std::same_as<S, float>)) ||
    (std::same_as<T, std::int32_t> && std::same_as<S, std::int32_t>);

template <class T, class A = DefaultArch, StoredAs<T> S>
[[gnu::always_inline]] inline Vec<T, A> load_as(const S* p) noexcept {
  if constexpr (std::same_as<S, T>)
    return load<A>(p);
  else
    return detail::Converted<S, A>::load(p);
}

template <class T, class A = DefaultArch, StoredAs<T> S>
[[gnu::always_inline]] inline Vec<T, A> load_as_partial(const S* p, Index n) noexcept {
  if constexpr (std::same_as<S, T>)
    return load_partial<A>(p, n);
  else
    return detail::Converted<S, A>::load_partial(p, n);
}

template <class A = DefaultArch, class T, StoredAs<T> S>
[[gnu::always_inline]] inline void store_as(S* p,
                                            const xsimd::batch<T, typename A::simd>& v) noexcept {
  if constexpr (std::same_as<S, T>)
    store<A>(p, v);
  else
    detail::Converted<S, A>::store(p, v);
}

template <class A = DefaultArch, class T, StoredAs<T> S>
[[gnu::always_inline]] inline void store_as_partial(S* p,
                                                    const xsimd::batch<T, typename A::simd>& v,
                                                    Index n) noexcept {
  if constexpr (std::same_as<S, T>)
    store_partial<A>(p, v, n);
  else
    detail::Converted<S, A>::store_partial(p, v, n);
}

}  // namespace weft
