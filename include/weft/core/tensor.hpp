#pragma once

#include <weft/core/aligned_array.hpp>
#include <weft/core/view.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

namespace weft {

/// Owning row-major array of static rank, 64-byte aligned. Elements start as zero.
///
/// A tensor hands out views (`view()`, or implicitly); it is copied explicitly with `clone()`,
/// moved freely, and never resized: assign a new one instead.
template <class T, std::size_t Rank>
class Tensor {
 public:
  using value_type = T;
  using Extents = std::array<Index, Rank>;
  static constexpr std::size_t rank = Rank;

  Tensor() = default;

  /// Throws on a negative extent, and std::bad_alloc when memory is short.
  explicit Tensor(const Extents& shape) : view_(nullptr, shape) {
    data_ = detail::aligned_array<T>(view_.size());
    std::fill_n(data_.get(), view_.size(), T{});
    view_ = View<T, Rank>(data_.get(), shape);
  }

  Tensor(Tensor&& other) noexcept
      : data_(std::move(other.data_)), view_(std::exchange(other.view_, {})) {}
  Tensor& operator=(Tensor&& other) noexcept {
    data_ = std::move(other.data_);
    view_ = std::exchange(other.view_, {});
    return *this;
  }

  Tensor clone() const {
    Tensor out(shape());
    std::copy_n(data(), size(), out.data());
    return out;
  }

  View<T, Rank> view() noexcept { return view_; }
  View<const T, Rank> view() const noexcept { return view_; }
  operator View<T, Rank>() noexcept { return view_; }
  operator View<const T, Rank>() const noexcept { return view_; }

  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }
  const Extents& shape() const noexcept { return view_.shape(); }
  Index extent(std::size_t axis) const noexcept { return view_.extent(axis); }
  Index size() const noexcept { return data_ ? view_.size() : 0; }

  template <class... Indices>
  T& operator()(Indices... indices) noexcept {
    return view_(indices...);
  }
  template <class... Indices>
  const T& operator()(Indices... indices) const noexcept {
    return view_(indices...);
  }

  std::span<T> span() noexcept { return {data_.get(), static_cast<std::size_t>(size())}; }
  std::span<const T> span() const noexcept {
    return {data_.get(), static_cast<std::size_t>(size())};
  }

 private:
  std::unique_ptr<T[], detail::AlignedDelete> data_;
  View<T, Rank> view_;
};

template <class T, std::size_t Rank>
View<T, Rank> view_of(Tensor<T, Rank>& tensor) noexcept {
  return tensor.view();
}
template <class T, std::size_t Rank>
View<const T, Rank> view_of(const Tensor<T, Rank>& tensor) noexcept {
  return tensor.view();
}

/// What a kernel argument may be: a view, a tensor, or anything else `view_of` knows, of this rank.
template <class X, std::size_t Rank>
concept ViewLike = requires(X&& x) { requires decltype(view_of(x))::rank == Rank; };

}  // namespace weft
