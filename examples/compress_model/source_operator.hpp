#pragma once

#include <weft/layer/operator.hpp>

#include <memory>
#include <vector>

namespace compress_model {

using weft::Context;
using weft::Index;
using weft::Tensor;
using weft::View;

/// A dense operator that still knows its weight, and that notes its inputs when asked to: what
/// stands in a model before it is compressed.
class SourceOperator {
 public:
  /// weight [rows, cols] of any strides; bias [rows] or none.
  explicit SourceOperator(View<const float, 2> weight, View<const float, 1> bias = {})
      : dense_(weight, bias), weight_(weight.shape()) {
    for (Index r = 0; r < rows(); ++r)
      for (Index c = 0; c < cols(); ++c) weight_(r, c) = weight(r, c);
    if (bias.data() == nullptr) return;
    bias_ = Tensor<float, 1>({rows()});
    for (Index r = 0; r < rows(); ++r) bias_(r) = bias(r);
  }

  Index rows() const noexcept { return dense_.rows(); }
  Index cols() const noexcept { return dense_.cols(); }
  View<const float, 2> weight() const noexcept { return weight_; }
  /// Empty (no data) where there is none.
  View<const float, 1> bias() const noexcept {
    return bias_.size() == 0 ? View<const float, 1>{} : View<const float, 1>(bias_);
  }

  template <class X, class Y>
  void apply(View<X, 2> x, View<Y, 2> y, const Context& ctx = Context{}) const {
    apply(x, y, weft::NoEpilogue{}, ctx);
  }

  template <class X, class Y, weft::Epilogue E>
  void apply(View<X, 2> x, View<Y, 2> y, const E& epilogue, const Context& ctx = Context{}) const {
    if (inputs_ && x.extent(1) == cols())
      for (Index r = 0; r < x.extent(0); ++r)
        inputs_->insert(inputs_->end(), x.pointer(r), x.pointer(r) + cols());
    dense_.apply(x, y, epilogue, ctx);
  }

  /// From here on the rows of x are noted, for one thread that applies the operator.
  void note_inputs() { inputs_ = std::make_unique<std::vector<float>>(); }

  /// The rows noted, [n, cols].
  View<const float, 2> inputs() const noexcept {
    if (!inputs_) return {};
    const auto size = static_cast<Index>(inputs_->size());
    return {inputs_->data(), {cols() == 0 ? 0 : size / cols(), cols()}};
  }

 private:
  weft::DenseOperator<float> dense_;
  Tensor<float, 2> weight_;
  Tensor<float, 1> bias_;
  std::unique_ptr<std::vector<float>> inputs_;
};

static_assert(weft::FusedOperator<SourceOperator>);

}  // namespace compress_model
