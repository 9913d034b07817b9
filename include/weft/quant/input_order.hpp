#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/tensor.hpp>

#include <cstdint>

/// Weights whose columns were sorted: column k is the input order[k] of x.
namespace weft::quant::detail {

class InputOrder {
 public:
  InputOrder() = default;

  /// order [cols], or none. Throws where it is no permutation.
  InputOrder(View<const std::int32_t, 1> order, Index cols) {
    if (order.data() == nullptr) return;
    require(order.extent(0) == cols, "operator: order has ", order.extent(0),
            " entries, the weight has ", cols, " columns");
    order_ = Tensor<std::int32_t, 1>({cols});
    Tensor<std::uint8_t, 1> seen({cols});
    for (Index k = 0; k < cols; ++k) {
      require(order(k) >= 0 && order(k) < cols && seen(order(k)) == 0,
              "operator: order is no permutation, entry ", k, " is ", order(k));
      seen(order(k)) = 1;
      order_(k) = order(k);
    }
  }

  Index bytes() const noexcept { return 4 * order_.size(); }

  /// x itself, or its columns in order, in memory of the context's frame.
  template <class S>
  View<const S, 2> apply(const View<const S, 2>& x, const Context& ctx) const {
    if (order_.size() == 0) return x;
    const Index n = x.extent(0), cols = order_.size();
    const View<S, 2> out(ctx.arena().template take<S>(n * cols), {n, cols});
    for (Index m = 0; m < n; ++m)
      for (Index k = 0; k < cols; ++k) out(m, k) = x(m, order_(k));
    return View<const S, 2>(out.data(), out.shape());
  }

 private:
  Tensor<std::int32_t, 1> order_;
};

}  // namespace weft::quant::detail
