#include "reference/normalizer.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax/kmeans.hpp>

using namespace weft;

namespace {

template <class T>
struct Clusters {
  Index L, M, D, E;
  Tensor<T, 4> centers = even_values<T, 4>({2, 3, L, D}, 1);
  Tensor<T, 4> pixels = even_values<T, 4>({2, 3, M, D}, 2);
  Tensor<T, 4> values = even_values<T, 4>({2, 3, M, E}, 3);
  Tensor<T, 4> update{{2, 3, L, E}};
  Tensor<std::int32_t, 3> assigned{{2, 3, M}};

  template <class Mixer = KMeans<>>
  void run(const Mixer& mixer = {}, const Context& context = Context()) {
    forward(mixer, centers, pixels, values, update, assigned, context);
  }
};

/// The center of each pixel, and what the centers get, from the definition.
template <class T>
void check_against_reference(Clusters<T>& c, double tolerance) {
  c.run();
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 3; ++h) {
      Tensor<double, 2> update({c.L, c.E});
      for (Index m = 0; m < c.M; ++m) {
        std::vector<double> logits;
        for (Index l = 0; l < c.L; ++l) {
          double dot = 0;
          for (Index d = 0; d < c.D; ++d)
            dot += double(c.centers(b, h, l, d)) * double(c.pixels(b, h, m, d));
          logits.push_back(dot);
        }
        const auto best = static_cast<Index>(reference::argmax(logits));
        CHECK(c.assigned(b, h, m) == best);
        for (Index e = 0; e < c.E; ++e) update(best, e) += double(c.values(b, h, m, e));
      }
      CHECK(largest_error(doubles_of(c.update.view().select(0, b).select(0, h)),
                          doubles_of(update.view())) < tolerance);
    }
}

}  // namespace

TEST_CASE("kmeans: every pixel goes to its closest center", "[softmax][softmax/kmeans]") {
  for (const auto& [L, M, D, E] :
       {std::array<Index, 4>{1, 1, 1, 1}, std::array<Index, 4>{7, 3, 5, 9},
        std::array<Index, 4>{19, 150, 24, 20}}) {
    Clusters<float> single{L, M, D, E};
    check_against_reference(single, 1e-5);
    Clusters<double> twice{L, M, D, E};
    check_against_reference(twice, 1e-13);
  }
  Clusters<bf16> half{19, 70, 24, 20};
  check_against_reference(half, 0x1p-7);
}

TEST_CASE("kmeans: the updates are all values, however the pixels are ordered", "[softmax]") {
  Clusters<double> c{6, 80, 8, 5};
  c.run();
  for (Index e = 0; e < 5; ++e) {
    double updates = 0, values = 0;
    for (Index l = 0; l < 6; ++l) updates += c.update(1, 2, l, e);
    for (Index m = 0; m < 80; ++m) values += c.values(1, 2, m, e);
    CHECK(updates == Approx(values).epsilon(1e-13));
  }
  Clusters<double> turned{6, 80, 8, 5};
  for (Index m = 0; m < 80; ++m) {
    for (Index d = 0; d < 8; ++d) turned.pixels(1, 2, m, d) = c.pixels(1, 2, 79 - m, d);
    for (Index e = 0; e < 5; ++e) turned.values(1, 2, m, e) = c.values(1, 2, 79 - m, e);
  }
  turned.run();
  CHECK(largest_error(doubles_of(turned.update.view().select(0, 1).select(0, 2)),
                      doubles_of(c.update.view().select(0, 1).select(0, 2))) < 1e-13);
}

TEST_CASE("kmeans: pixels without a center, threads", "[softmax]") {
  Clusters<float> c{5, 40, 8, 5};
  Tensor<std::uint8_t, 4> bytes({1, 1, 40, 5});
  for (Index m = 0; m < 40; m += 2)
    for (Index l = 1; l < 5; ++l) bytes(0, 0, m, l) = 1;
  const KMeans mixer{BoolMask{std::as_const(bytes).view()}, NoScore{}, 0.0};
  c.run(mixer);
  for (Index m = 0; m < 40; ++m)
    CHECK((m % 2 == 0 ? c.assigned(0, 1, m) >= 1 : c.assigned(0, 1, m) == -1));
  for (Index e = 0; e < 5; ++e) CHECK(c.update(0, 1, 0, e) == 0.f);
  const auto alone = doubles_of(c.update.view());
  auto three = fresh_threads(3);
  c.run(mixer, Context(three));
  CHECK((doubles_of(c.update.view()) == alone));
}

TEST_CASE("kmeans: shapes that do not fit are refused", "[softmax]") {
  const auto refusal = [](auto change) {
    Clusters<float> c{5, 40, 8, 6};
    change(c);
    return message_of([&] { c.run(); });
  };
  CHECK(refusal([](auto&) {}).empty());
  CHECK(contains(refusal([](auto& c) {
                   c.update = Tensor<float, 4>({2, 3, 4, 6});
                 }),
                 "must have the number of centers"));
  CHECK(contains(refusal([](auto& c) { c.update = Tensor<float, 4>({2, 3, 5, 7}); }), "channels"));
  CHECK(contains(refusal([](auto& c) {
                   c.values = Tensor<float, 4>({2, 3, 39, 6});
                 }),
                 "leading axes"));
  CHECK(contains(refusal([](auto& c) { c.centers = Tensor<float, 4>({2, 1, 5, 8}); }), "heads"));
  CHECK(contains(refusal([](auto& c) {
                   c.assigned = Tensor<std::int32_t, 3>({2, 3, 39});
                 }),
                 "must be [B, H, M]"));
  CHECK(contains(refusal([](auto& c) {
                   c.centers = Tensor<float, 4>({2, 3, 5, 9});
                 }),
                 "head size"));
}
