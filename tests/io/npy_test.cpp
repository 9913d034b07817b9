#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/temporary_folder.hpp"
#include <weft/io/npy.hpp>

using namespace weft;

namespace {

std::string image(const std::string& dictionary, const std::string& data, char version = 1) {
  std::string out = "\x93NUMPY";
  out += version;
  out += '\0';
  const auto length = static_cast<std::uint32_t>(dictionary.size());
  out.append(reinterpret_cast<const char*>(&length), version == 1 ? 2 : 4);
  return out + dictionary + data;
}

std::string dictionary(const std::string& descr, const std::string& order,
                       const std::string& shape) {
  return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

std::string refusal(const std::string& contents) {
  return message_of([&] { parse_npy(std::as_bytes(std::span(contents)), "a.npy"); });
}

template <class T>
void round_trip(const TemporaryFolder& folder) {
  Tensor<T, 3> in({2, 3, 4});
  for (Index i = 0; i < in.size(); ++i) in.data()[i] = T(static_cast<float>(i % 2 + (i == 7)));
  write_npy(folder / "a.npy", in.view().transpose(0, 2));
  const auto out = read_npy<T, 3>(folder / "a.npy");
  REQUIRE(out.shape() == std::array<Index, 3>{4, 3, 2});
  for (Index i = 0; i < 2; ++i) {
    for (Index j = 0; j < 3; ++j) {
      for (Index k = 0; k < 4; ++k) CHECK(float(out(k, j, i)) == float(in(i, j, k)));
    }
  }
}

}  // namespace

TEST_CASE("npy: what is written reads back", "[io]") {
  TemporaryFolder folder;
  round_trip<float>(folder);
  round_trip<double>(folder);
  round_trip<fp16>(folder);
  round_trip<std::int32_t>(folder);
  round_trip<std::int64_t>(folder);
  round_trip<std::uint8_t>(folder);
  round_trip<bool>(folder);
}

TEST_CASE("npy: the file is what NumPy writes", "[io]") {
  TemporaryFolder folder;
  std::vector<float> values{1.f, 2.f};
  write_npy(folder / "a.npy", values);
  const std::string got = contents_of(folder / "a.npy");
  REQUIRE(got.size() == 128 + 8);
  CHECK(got.substr(0, 10) == std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  CHECK(contains(got, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"));
  CHECK(got[127] == '\n');
}

TEST_CASE("npy: versions, conversions, scalars and empty arrays", "[io]") {
  TemporaryFolder folder;
  const std::string three("\x03\0\0\0", 4);
  const auto path = folder.file("a.npy", image(dictionary("'<i4'", "False", "(1,)"), three, 2));
  CHECK(read_npy<double, 1>(path)(0) == 3.0);
  CHECK(contains(message_of([&] { read_npy<double, 2>(path); }), "has 1 dimensions, 2 were asked"));
  CHECK(refusal(image(dictionary("'<i4'", "False", "()"), three)) == "");
  CHECK(refusal(image(dictionary("'<i4'", "True", "(1,)"), three)) == "");
  CHECK(refusal(image(dictionary("'<i4'", "False", "(0, 7)"), "")) == "");
}

TEST_CASE("npy: what is not read is refused with a sentence", "[io]") {
  const std::string eight(8, '\0');
  struct Case {
    std::string contents, text;
  };
  const Case cases[] = {
      {"", "not an .npy file"},
      {"\x93NUMPX\x01\x00\x00\x00", "not an .npy file"},
      {image(dictionary("'<f4'", "False", "(2,)"), eight, 3), "version 3"},
      {image(dictionary("'<f4'", "True", "(2, 1)"), eight), "Fortran order"},
      {image(dictionary("'>f4'", "False", "(2,)"), eight), "big-endian"},
      {image(dictionary("'|O'", "False", "(2,)"), eight), "pickled"},
      {image(dictionary("'<c8'", "False", "(1,)"), eight), "unsupported element type <c8"},
      {image(dictionary("[('a', '<f4')]", "False", "(2,)"), eight), "structured"},
      {image(dictionary("'<f4'", "False", "(3,)"), eight), "not what its shape needs"},
      {image(dictionary("'<f4'", "False", "(-2,)"), eight), "something else than a size"},
      {image(dictionary("'<f4'", "False", "('a',)"), eight), "something else than a size"},
      {image(dictionary("'<f4'", "False", "(4611686018427387904, 8)"), eight), "its shape needs"},
      {image(dictionary("'<f4'", "False", "2"), eight), "no tuple"},
      {image("{'descr': '<f4'}", eight), "lacks"},
      {image("nonsense", eight), "not a Python literal"},
      {image(dictionary("'<f4'", "False", "(2,)"), "").substr(0, 40), "ends inside the header"},
  };
  for (const Case& c : cases) {
    const std::string got = refusal(c.contents);
    INFO(c.text << " -> " << got);
    CHECK(contains(got, "a.npy"));
    CHECK(contains(got, c.text));
  }
}
