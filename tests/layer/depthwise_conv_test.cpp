#include "reference/grid.hpp"
#include "reference/softmax.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax/lepe.hpp>
#include <weft/position/conditional.hpp>

// softmax/lepe, softmax/cpe

using namespace weft;

namespace {

template <class T>
struct Setup {
  Setup(Index B, Index rows, Index columns, Index C, Index k)
      : x(even_values<T, 4>({B, rows, columns, C}, 1)),
        weight(even_values<T, 3>({C, k, k}, 2)),
        bias(even_values<T, 1>({C}, 3)),
        conv(weight.view(), bias.view()) {}

  std::vector<double> expected() const {
    const reference::Grid grid{static_cast<std::size_t>(x.extent(1)),
                               static_cast<std::size_t>(x.extent(2))};
    std::vector<double> all;
    for (Index b = 0; b < x.extent(0); ++b) {
      const auto one = reference::depthwise_conv(grid, doubles_of(x.view().select(0, b)),
                                                 doubles_of(weight.view()), doubles_of(bias.view()),
                                                 static_cast<std::size_t>(conv.size()));
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }

  std::vector<double> run(const Context& ctx = Context()) const {
    const Poisoned<T, 4> y(x.shape());
    conv.apply(x, y.view(), ctx);
    CHECK(y.guards_intact());
    return doubles_of(y.view());
  }

  Tensor<T, 4> x;
  Tensor<T, 3> weight;
  Tensor<T, 1> bias;
  DepthwiseConv<T> conv;
};

std::vector<double> sum(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

}  // namespace

TEST_CASE("depthwise convolution agrees with the reference", "[layer]") {
  const auto check = [](auto type, double tolerance) {
    using T = decltype(type);
    for (const Index channels : {1, 3, 16, 40, 300})
      for (const Index k : {1, 3, 5}) {
        const Setup<T> s(2, 4, 7, channels, k);
        CHECK(largest_error(s.run(), s.expected()) < tolerance);
      }
    const Setup<T> smaller_than_kernel(1, 1, 2, 5, 5);
    CHECK(largest_error(smaller_than_kernel.run(), smaller_than_kernel.expected()) < tolerance);
  };
  check(double{}, 1e-14);
  check(float{}, 2e-6);
}

TEST_CASE("depthwise convolution: windows, no bias, threads, empty maps", "[layer]") {
  const Setup<float> s(2, 6, 5, 9, 3);
  CHECK(same_for_any_threads([&](const Context& ctx) { return s.run(ctx); }));
  // A window has zeros at its own borders.
  const auto window = s.x.view().slice(1, 2, 3).slice(2, 1, 3);
  Tensor<float, 4> copy({2, 3, 3, 9}), from_copy(copy.shape()), from_window(copy.shape());
  const auto flat = doubles_of(window);
  for (Index i = 0; i < copy.size(); ++i)
    copy.data()[i] = static_cast<float>(flat[static_cast<std::size_t>(i)]);
  s.conv.apply(copy, from_copy);
  s.conv.apply(window, from_window);
  CHECK((doubles_of(from_copy.view()) == doubles_of(from_window.view())));

  const DepthwiseConv<float> zero(Tensor<float, 3>({9, 3, 3}).view());
  Tensor<float, 4> y(s.x.shape());
  add_conditional_position(zero, s.x, y);
  CHECK((doubles_of(y.view()) == doubles_of(s.x.view())));
  Tensor<float, 4> none({0, 6, 5, 9}), flat_map({2, 0, 5, 9});
  s.conv.apply(none, none);
  s.conv.apply(flat_map, flat_map);
}

TEST_CASE("conditional position and LePE add the convolution", "[layer]") {
  const Setup<double> s(2, 3, 5, 12, 3);
  Tensor<double, 4> y(s.x.shape());
  add_conditional_position(s.conv, s.x, y);
  CHECK(largest_error(doubles_of(y.view()), sum(s.expected(), doubles_of(s.x.view()))) < 1e-14);

  const auto q = even_values<double, 4>(s.x.shape(), 4), k = even_values<double, 4>(s.x.shape(), 5);
  Tensor<double, 4> out(s.x.shape()), plain({2, 3, 15, 4});
  forward_lepe(Softmax{}, s.conv, 3, q, k, s.x, out);
  const auto heads = [](const Tensor<double, 4>& x) {
    return doubles_of(heads_of_map(x.view(), 3));
  };
  const auto attention =
      reference::attention({2, 3, 3, 15, 15, 4, 4}, heads(q), heads(k), heads(s.x)).out;
  std::copy(attention.begin(), attention.end(), plain.data());
  Tensor<double, 4> plain_map(s.x.shape());
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < 15; ++i)
      for (Index c = 0; c < 12; ++c) plain_map(b, i / 5, i % 5, c) = plain(b, c / 4, i, c % 4);
  CHECK(largest_error(doubles_of(out.view()), sum(s.expected(), doubles_of(plain_map.view()))) <
        1e-13);
}

TEST_CASE("depthwise convolution and LePE refuse what does not fit", "[layer][errors]") {
  Tensor<float, 3> even({4, 2, 2}), odd({4, 3, 3});
  Tensor<float, 1> bias({3});
  Tensor<float, 4> x({1, 2, 2, 4}), y({1, 2, 2, 3});
  CHECK(contains(message_of([&] { DepthwiseConv<float>(even.view()); }), "k odd"));
  CHECK(contains(message_of([&] { DepthwiseConv<float>(odd.view(), bias.view()); }),
                 "3 values for 4 channels"));
  const DepthwiseConv<float> conv(odd.view());
  CHECK(contains(message_of([&] { conv.apply(y, y); }), "DepthwiseConv of 4 channels"));
  CHECK(contains(message_of([&] { conv.apply(x, y); }), "wanted one shape"));
  CHECK(contains(message_of([&] { heads_of_map(x.view(), 3); }), "3 heads share 4 channels"));
  CHECK(contains(message_of([&] { heads_of_map(x.view().slice(2, 0, 1), 2); }),
                 "must follow one another"));
  CHECK(contains(message_of([&] { forward_lepe(Softmax{}, conv, 2, x, x, x, y); }),
                 "both are [B, rows, columns, C]"));
}
