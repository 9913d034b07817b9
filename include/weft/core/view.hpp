#pragma once

#include <weft/core/check.hpp>

#include <array>
#include <concepts>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace weft {

/// Non-owning strided array of static rank.
///
/// Element (i0, i1, ...) is data[i0 * strides[0] + i1 * strides[1] + ...]; strides count elements,
/// may be zero (a broadcast axis) and may be negative. Copying a view copies the description, never
/// the elements; `View<T>` converts to `View<const T>`.
///
/// Kernels ask for stride 1 in the last dimension and accept any other strides, so that a
/// `[B, N, H * D]` buffer is seen as `[B, H, N, D]` without a copy.
template <class T, std::size_t Rank>
class View {
 public:
  using value_type = std::remove_const_t<T>;
  using Extents = std::array<Index, Rank>;
  static constexpr std::size_t rank = Rank;

  constexpr View() noexcept = default;

  /// Elements in row-major order without gaps. Throws on a negative extent.
  constexpr View(T* data, const Extents& shape) : View(data, shape, packed_strides(shape)) {}

  /// Any strides. Throws on a negative extent.
  constexpr View(T* data, const Extents& shape, const Extents& strides)
      : data_(data), shape_(shape), strides_(strides) {
    for (Index n : shape) require(n >= 0, "a view cannot have the negative extent ", n);
  }

  template <class U>
    requires(std::is_const_v<T> && std::same_as<U, value_type>)
  constexpr View(const View<U, Rank>& other) noexcept
      : data_(other.data()), shape_(other.shape()), strides_(other.strides()) {}

  constexpr T* data() const noexcept { return data_; }
  constexpr const Extents& shape() const noexcept { return shape_; }
  constexpr const Extents& strides() const noexcept { return strides_; }
  constexpr Index extent(std::size_t axis) const noexcept { return shape_[axis]; }
  constexpr Index stride(std::size_t axis) const noexcept { return strides_[axis]; }

  constexpr Index size() const noexcept {
    Index n = 1;
    for (Index e : shape_) n *= e;
    return n;
  }
  constexpr bool empty() const noexcept { return size() == 0; }

  template <class... Indices>
    requires(sizeof...(Indices) == Rank)
  constexpr T& operator()(Indices... indices) const noexcept {
    return *pointer(static_cast<Index>(indices)...);
  }

  /// Address of the element at the given leading indices, the rest being zero.
  template <class... Indices>
    requires(sizeof...(Indices) <= Rank)
  constexpr T* pointer(Indices... indices) const noexcept {
    std::size_t axis = 0;
    Index offset = 0;
    ((offset += static_cast<Index>(indices) * strides_[axis++]), ...);
    return data_ + offset;
  }

  /// Row-major without gaps, which is when `data()` may be read as one span of `size()` elements.
  constexpr bool is_packed() const noexcept {
    Index expected = 1;
    for (std::size_t axis = Rank; axis-- > 0;) {
      if (shape_[axis] != 1 && strides_[axis] != expected) return false;
      expected *= shape_[axis];
    }
    return true;
  }

  /// The same elements with two axes exchanged.
  constexpr View transpose(std::size_t a, std::size_t b) const noexcept {
    View out = *this;
    std::swap(out.shape_[a], out.shape_[b]);
    std::swap(out.strides_[a], out.strides_[b]);
    return out;
  }

  /// Positions [begin, begin + count) of one axis. Throws when they leave the axis.
  constexpr View slice(std::size_t axis, Index begin, Index count) const {
    require(begin >= 0 && count >= 0 && begin + count <= shape_[axis], "slice [", begin, ", ",
            begin + count, ") leaves an axis of extent ", shape_[axis]);
    View out = *this;
    out.data_ += begin * strides_[axis];
    out.shape_[axis] = count;
    return out;
  }

  /// One position of one axis: the view of rank Rank - 1 there.
  constexpr View<T, Rank - 1> select(std::size_t axis, Index position) const
    requires(Rank > 1)
  {
    require(position >= 0 && position < shape_[axis], "position ", position,
            " leaves an axis of extent ", shape_[axis]);
    std::array<Index, Rank - 1> shape{}, strides{};
    for (std::size_t from = 0, to = 0; from < Rank; ++from) {
      if (from == axis) continue;
      shape[to] = shape_[from];
      strides[to++] = strides_[from];
    }
    return {data_ + position * strides_[axis], shape, strides};
  }

  /// Axes of extent 1 stretched to `shape` with stride 0. Throws where an extent differs otherwise.
  constexpr View broadcast(const Extents& shape) const {
    View out = *this;
    for (std::size_t axis = 0; axis < Rank; ++axis) {
      if (shape_[axis] == shape[axis]) continue;
      require(shape_[axis] == 1, "cannot stretch axis ", axis, " of extent ", shape_[axis], " to ",
              shape[axis]);
      out.shape_[axis] = shape[axis];
      out.strides_[axis] = 0;
    }
    return out;
  }

  /// The same elements under another shape of the same size. Throws unless `is_packed()`.
  template <std::size_t NewRank>
  constexpr View<T, NewRank> reshape(const std::array<Index, NewRank>& shape) const {
    View<T, NewRank> out(data_, shape);
    require(is_packed(), "reshape needs a view without gaps");
    require(out.size() == size(), "reshape to ", out.size(), " elements, the view has ", size());
    return out;
  }

  static constexpr Extents packed_strides(const Extents& shape) noexcept {
    Extents strides{};
    Index step = 1;
    for (std::size_t axis = Rank; axis-- > 0;) {
      strides[axis] = step;
      step *= shape[axis];
    }
    return strides;
  }

 private:
  T* data_ = nullptr;
  Extents shape_{};
  Extents strides_{};
};

/// The same elements with a new first axis of extent 1.
template <class T, std::size_t Rank>
constexpr View<T, Rank + 1> unsqueeze(const View<T, Rank>& view) noexcept {
  std::array<Index, Rank + 1> shape{1}, strides{0};
  for (std::size_t axis = 0; axis < Rank; ++axis) {
    shape[axis + 1] = view.extent(axis);
    strides[axis + 1] = view.stride(axis);
  }
  return {view.data(), shape, strides};
}

/// One-dimensional views of a span or a vector.
template <class T>
constexpr View<T, 1> view_of(std::span<T> elements) {
  return {elements.data(), {static_cast<Index>(elements.size())}};
}
template <class T>
View<T, 1> view_of(std::vector<T>& elements) {
  return {elements.data(), {static_cast<Index>(elements.size())}};
}
template <class T>
View<const T, 1> view_of(const std::vector<T>& elements) {
  return {elements.data(), {static_cast<Index>(elements.size())}};
}

/// A span or vector seen under a shape. Throws when the buffer is shorter than the shape.
template <class T, std::size_t Rank>
constexpr View<T, Rank> view_of(std::span<T> elements, const std::array<Index, Rank>& shape) {
  View<T, Rank> out(elements.data(), shape);
  require(out.size() <= static_cast<Index>(elements.size()), "the shape needs ", out.size(),
          " elements, the buffer has ", elements.size());
  return out;
}
template <class T, std::size_t Rank>
View<T, Rank> view_of(std::vector<T>& elements, const std::array<Index, Rank>& shape) {
  return view_of(std::span<T>(elements), shape);
}
template <class T, std::size_t Rank>
View<const T, Rank> view_of(const std::vector<T>& elements, const std::array<Index, Rank>& shape) {
  return view_of(std::span<const T>(elements), shape);
}
template <class T, std::size_t Rank>
constexpr View<T, Rank> view_of(const View<T, Rank>& view) noexcept {
  return view;
}

/// The shape as text, "[2, 8, 128, 64]", for messages.
template <class T, std::size_t Rank>
std::string shape_text(const View<T, Rank>& view) {
  std::string text = "[";
  for (std::size_t axis = 0; axis < Rank; ++axis) {
    if (axis != 0) text += ", ";
    text += std::to_string(view.extent(axis));
  }
  return text + "]";
}

}  // namespace weft
