#pragma once

#include <weft/layer/operator.hpp>

#include <concepts>
#include <type_traits>
#include <utility>
#include <variant>

namespace weft {

/// One of several operators, chosen at run time: for a model whose weights are kept as a command
/// line or a file says.
///
///   using Linear = AnyOperator<DenseOperator<float>, quant::Int8Operator<>>;
///   Linear op = DenseOperator<float>(weight);
///   op = quant::Int8Operator<>(weight);          // the model that holds it goes on with this one
///
/// It models FusedOperator, with the epilogues of all its alternatives: each is compiled for each
/// epilogue, and the choice costs a branch per product.
template <FusedOperator... Ops>
class AnyOperator {
 public:
  template <class Op>
    requires(std::same_as<std::remove_cvref_t<Op>, Ops> || ...)
  AnyOperator(Op&& op) : op_(std::forward<Op>(op)) {}

  Index rows() const {
    return visit([](const auto& op) -> Index { return op.rows(); });
  }
  Index cols() const {
    return visit([](const auto& op) -> Index { return op.cols(); });
  }

  template <class X, class Y>
  void apply(View<X, 2> x, View<Y, 2> y, const Context& ctx = Context{}) const {
    visit([&](const auto& op) { op.apply(x, y, ctx); });
  }

  template <class X, class Y, class E>
    requires(!std::same_as<E, Context>)
  void apply(View<X, 2> x, View<Y, 2> y, const E& epilogue, const Context& ctx = Context{}) const {
    visit([&](const auto& op) { op.apply(x, y, epilogue, ctx); });
  }

  /// f(the operator that it is).
  template <class F>
  decltype(auto) visit(F&& f) const {
    return std::visit(std::forward<F>(f), op_);
  }

  /// The operator if it is an Op, else null.
  template <class Op>
  Op* get_if() noexcept {
    return std::get_if<Op>(&op_);
  }
  template <class Op>
  const Op* get_if() const noexcept {
    return std::get_if<Op>(&op_);
  }

 private:
  std::variant<Ops...> op_;
};

}  // namespace weft
