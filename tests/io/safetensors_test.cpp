#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/temporary_folder.hpp"
#include <weft/io/safetensors.hpp>

#include <cmath>
#include <limits>

using namespace weft;

namespace {

/// A file image: length, JSON, data.
std::string image(const std::string& json, const std::string& data) {
  const std::uint64_t length = json.size();
  std::string out(reinterpret_cast<const char*>(&length), sizeof(length));
  return out + json + data;
}

std::string refusal(const std::string& contents) {
  return message_of([&] { parse_safetensors(std::as_bytes(std::span(contents)), "model.st"); });
}

/// Refusal of a header over `bytes` zero bytes of data.
std::string header_refusal(const std::string& json, std::size_t bytes = 8) {
  return refusal(image(json, std::string(bytes, '\0')));
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

template <class T>
Tensor<T, 2> numbers(Index rows, Index cols) {
  Tensor<T, 2> out({rows, cols});
  for (Index i = 0; i < out.size(); ++i) out.data()[i] = T(static_cast<float>(i % 100));
  return out;
}

}  // namespace

TEST_CASE("safetensors: what is written reads back", "[io]") {
  TemporaryFolder folder;
  const auto f32 = numbers<float>(3, 5);
  const auto f64 = numbers<double>(1, 7);
  const auto half = numbers<fp16>(2, 2);
  const auto brain = numbers<bf16>(2, 3);
  const auto bytes = numbers<std::uint8_t>(3, 3);
  const auto longs = numbers<std::int64_t>(2, 2);
  Tensor<bool, 1> flags({3});
  flags(1) = true;

  SafetensorsWriter writer;
  writer.add("f32", f32);
  writer.add("transposed", f32.view().transpose(0, 1));
  writer.add("f64", f64);
  writer.add("half", half);
  writer.add("brain", brain);
  writer.add("bytes", bytes);
  writer.add("longs", longs);
  writer.add("flags", flags);
  writer.add("empty", Tensor<float, 3>({2, 0, 4}));
  writer.metadata("format", "pt");
  writer.metadata("note \"quoted\"", "l\xC3\xADne\nbreak");
  writer.save(folder / "a.safetensors");

  const SafetensorsFile file(folder / "a.safetensors");
  CHECK(file.names() == std::vector<std::string>{"brain", "bytes", "empty", "f32", "f64", "flags",
                                                 "half", "longs", "transposed"});
  CHECK(file.metadata().at("format") == "pt");
  CHECK(file.metadata().at("note \"quoted\"") == "l\xC3\xADne\nbreak");
  CHECK(file.info("half").dtype == Dtype::F16);
  CHECK(file.info("f32").shape == std::vector<Index>{3, 5});
  CHECK(file.info("f32").bytes.size() == 60);
  CHECK(file.contains("f32"));
  CHECK_FALSE(file.contains("f3"));

  const auto view = file.tensor<float, 2>("f32");
  const auto turned = file.tensor<float, 2>("transposed");
  for (Index i = 0; i < 3; ++i) {
    for (Index j = 0; j < 5; ++j) {
      CHECK(view(i, j) == f32(i, j));
      CHECK(turned(j, i) == f32(i, j));
    }
  }
  CHECK(file.tensor<double, 2>("f64")(0, 6) == 6.0);
  CHECK(float(file.tensor<fp16, 2>("half")(1, 1)) == 3.f);
  CHECK(float(file.tensor<bf16, 2>("brain")(1, 2)) == 5.f);
  CHECK(file.tensor<std::uint8_t, 2>("bytes")(2, 2) == 8);
  CHECK(file.tensor<std::int64_t, 2>("longs")(1, 0) == 2);
  CHECK(file.tensor<bool, 1>("flags")(1));
  CHECK_FALSE(file.tensor<bool, 1>("flags")(2));
  CHECK(file.tensor<float, 3>("empty").empty());
}

TEST_CASE("safetensors: every tensor of a written file is aligned", "[io]") {
  TemporaryFolder folder;
  SafetensorsWriter writer;
  writer.add("a", numbers<std::uint8_t>(1, 3));
  writer.add("b", numbers<std::uint16_t>(1, 3));
  writer.add("c", numbers<double>(1, 1));
  writer.add("d", numbers<float>(1, 3));
  for (int length = 0; length < 9; ++length) {
    writer.metadata("pad", std::string(static_cast<std::size_t>(length), 'x'));
    writer.save(folder / "a.safetensors");
    const SafetensorsFile file(folder / "a.safetensors");
    CHECK(file.tensor<double, 2>("c")(0, 0) == 0.0);
    CHECK(file.tensor<float, 2>("d")(0, 2) == 2.f);
    CHECK(file.tensor<std::uint16_t, 2>("b")(0, 2) == 2);
  }
}

TEST_CASE("safetensors: read converts between types", "[io]") {
  TemporaryFolder folder;
  SafetensorsWriter writer;
  std::vector<double> f64{0.0, -1.5, 1.0 / 3.0, 1e300};
  std::vector<std::int32_t> i32{-1, 0, 127, 128};
  std::vector<std::uint64_t> u64{1, std::numeric_limits<std::uint64_t>::max()};
  std::vector<float> f32{1.0f + 0x1p-9f};
  writer.add("f64", f64);
  writer.add("i32", i32);
  writer.add("u64", u64);
  writer.add("f32", f32);
  writer.save(folder / "a.safetensors");
  const SafetensorsFile file(folder / "a.safetensors");

  const auto narrow = file.read<float, 1>("f64");
  CHECK(narrow(2) == static_cast<float>(1.0 / 3.0));
  CHECK(std::isinf(narrow(3)));
  CHECK(float(file.read<bf16, 1>("f32")(0)) == 1.0f);
  CHECK(float(file.read<fp16, 1>("f32")(0)) == 1.0f + 0x1p-9f);
  CHECK(file.read<double, 1>("i32")(0) == -1.0);
  CHECK(file.read<std::int64_t, 1>("i32")(0) == -1);
  CHECK(file.read<float, 1>("u64")(1) == 0x1p64f);

  const auto small = message_of([&] { file.read<std::int8_t, 1>("i32"); });
  CHECK(contains(small, "tensor \"i32\": element 3 is 128, which I8 cannot hold"));
  const auto sign = message_of([&] { file.read<std::uint64_t, 1>("i32"); });
  CHECK(contains(sign, "element 0 is -1, which U64 cannot hold"));
  CHECK(contains(message_of([&] { file.read<bool, 1>("i32"); }), "which BOOL cannot hold"));
  CHECK(contains(message_of([&] { file.read<std::int32_t, 1>("f64"); }), "holds F64 numbers"));
}

TEST_CASE("safetensors: 8-bit floats are known but only raw", "[io]") {
  TemporaryFolder folder;
  const auto path =
      folder.file("a.st", image("{" + entry("w", "F8_E4M3", "[3]", "[0,3]") + "}", "abc"));
  const SafetensorsFile file(path);
  CHECK(file.info("w").dtype == Dtype::F8_E4M3);
  CHECK(file.info("w").bytes[2] == std::byte{'c'});
  CHECK(contains(message_of([&] { file.read<float, 1>("w"); }),
                 "F8_E4M3 elements have no conversion"));
}

TEST_CASE("safetensors: wrong access names the file and the tensor", "[io]") {
  TemporaryFolder folder;
  // 17 characters of header before the data make every offset odd.
  std::string json = "{" + entry("w", "F32", "[2,1]", "[0,8]") + "}";
  if (json.size() % 2 == 0) json += " ";
  const auto path = folder.file("odd.st", image(json, std::string(8, '\0')));
  const SafetensorsFile file(path);
  const std::string where = path.string() + ": tensor ";
  CHECK(
      contains(message_of([&] { file.info("v"); }), where + "\"v\": the file has no such tensor"));
  CHECK(contains(message_of([&] { file.tensor<double, 2>("w"); }),
                 where + "\"w\": holds F32, not F64"));
  CHECK(contains(message_of([&] { file.tensor<float, 2>("w"); }), "not aligned to 4 bytes"));
  CHECK(contains(message_of([&] { file.read<float, 1>("w"); }),
                 "has 2 dimensions, 1 were asked for"));
  CHECK(file.read<float, 2>("w")(1, 0) == 0.f);
}

TEST_CASE("safetensors: files that cannot be opened", "[io]") {
  TemporaryFolder folder;
  CHECK(contains(message_of([&] { SafetensorsFile(folder / "none"); }), "cannot open"));
  CHECK(contains(message_of([&] { SafetensorsFile(folder.path()); }), "not a regular file"));
  CHECK(contains(message_of([&] { SafetensorsFile(folder.file("empty", "")); }), "too short"));
}

TEST_CASE("safetensors: absurd header lengths", "[io]") {
  std::uint64_t length = 100'000'001;
  std::string contents(reinterpret_cast<const char*>(&length), 8);
  CHECK(contains(refusal(contents + "{}"), "100000001"));
  length = std::numeric_limits<std::uint64_t>::max();
  contents.assign(reinterpret_cast<const char*>(&length), 8);
  CHECK(contains(refusal(contents + "{}"), "the header claims"));
  length = 3;
  contents.assign(reinterpret_cast<const char*>(&length), 8);
  CHECK(contains(refusal(contents + "{}"), "the header claims 3 bytes, the file has 2"));
  CHECK(contains(refusal("1234567"), "too short"));
  CHECK(contains(refusal(image("", "")), "no JSON object"));
}

TEST_CASE("safetensors: headers of any other form are refused", "[io]") {
  const std::string good = entry("w", "F32", "[2]", "[0,8]");
  REQUIRE(header_refusal("{" + good + "}") == "");
  REQUIRE(header_refusal("{" + good + "}   ") == "");
  REQUIRE(header_refusal("{\"__metadata__\":{\"a\":\"b\"}," + good + "}") == "");
  REQUIRE(header_refusal("{}", 0) == "");

  struct Case {
    std::string json, text;
  };
  const Case cases[] = {
      {"[" + good + "]", "no JSON object"},
      {" {" + good + "}", "no JSON object"},
      {"{" + good, "not JSON"},
      {"{" + good + "}x", "not JSON"},
      {"{\"w\xff\":{}}", "not JSON"},
      {"{" + good + "," + good + "}", "tensor \"w\": comes twice"},
      {"{\"__metadata__\":{},\"__metadata__\":{}," + good + "}", "comes twice"},
      {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}," + good + "}", "the key \"a\" comes twice"},
      {"{\"__metadata__\":{\"a\":1}," + good + "}", "unexpected a number"},
      {"{\"__metadata__\":[]}", "unexpected an array"},
      {"{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", "the key \"dtype\" comes twice"},
      {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"more\":\"x\"}}",
       "tensor \"w\": unexpected a string at the key \"more\""},
      {"{\"w\":{\"dtype\":7}}", "unexpected a number at the key \"dtype\""},
      {"{\"w\":{\"shape\":\"x\"}}", "unexpected a string at the key \"shape\""},
      {"{\"w\":{\"shape\":[[2]]}}", "unexpected an array"},
      {"{\"w\":{\"shape\":{}}}", "unexpected an object"},
      {"{\"w\":{\"shape\":[-2]}}", "negative number"},
      {"{\"w\":{\"shape\":[2.5]}}", "fractional number"},
      {"{\"w\":{\"shape\":[null]}}", "unexpected null"},
      {"{\"w\":{\"shape\":[9223372036854775808]}}", "too large"},
      {"{\"w\":{\"shape\":[true]}}", "unexpected a boolean"},
      {"{\"w\":7}", "tensor \"w\": unexpected a number"},
      {"{\"w\":{\"dtype\":\"F32\"}}", "needs dtype, shape and data_offsets"},
      {"{\"w\":" + std::string(100000, '[') + "}", "unexpected an array"},
      {"{\"w\":" + std::string(50000, '{') + "}", "not JSON"},
  };
  for (const Case& c : cases) {
    const std::string got = header_refusal(c.json);
    INFO(c.json.substr(0, 100) << " -> " << got);
    CHECK(contains(got, "model.st"));
    CHECK(contains(got, c.text));
  }
}

TEST_CASE("safetensors: offsets, shapes and types must fit the data", "[io]") {
  struct Case {
    std::string entries, text;
  };
  const Case cases[] = {
      {entry("w", "F31", "[2]", "[0,8]"), "tensor \"w\": unknown dtype \"F31\""},
      {entry("w", "F32", "[2]", "[0,9]"), "data_offsets end at 9, the file has 8"},
      {entry("w", "F32", "[2]", "[8,0]"), "begin <= end"},
      {entry("w", "F32", "[2]", "[0]"), "must be [begin, end]"},
      {entry("w", "F32", "[2]", "[0,4,8]"), "must be [begin, end]"},
      {entry("w", "F32", "[3]", "[0,8]"), "needs 12 bytes, data_offsets span 8"},
      {entry("w", "F64", "[2]", "[0,8]"), "needs 16 bytes"},
      {entry("w", "F32", "[4611686018427387904,4]", "[0,8]"), "overflows"},
      {entry("w", "F32", "[0,4611686018427387904,4611686018427387904]", "[0,0]"), "overflows"},
      {entry("w", "U8", "[9223372036854775807]", "[0,8]"), "needs 9223372036854775807"},
      {entry("w", "F32", "[1]", "[4,8]"), "tensor \"w\": its data leaves a hole"},
      {entry("w", "F32", "[1]", "[0,4]"), "4 bytes at the end belong to no tensor"},
      {entry("v", "F32", "[1]", "[0,4]") + "," + entry("w", "F32", "[2]", "[0,8]"),
       "tensor \"w\": its data overlaps"},
      {entry("v", "U8", "[5]", "[0,5]") + "," + entry("w", "U8", "[4]", "[4,8]"), "overlaps"},
      {entry("v", "U8", "[3]", "[0,3]") + "," + entry("w", "U8", "[4]", "[4,8]"), "hole"},
  };
  for (const Case& c : cases) {
    const std::string got = header_refusal("{" + c.entries + "}");
    INFO(c.entries << " -> " << got);
    CHECK(contains(got, "model.st"));
    CHECK(contains(got, c.text));
  }
  // A scalar has no axes and one element; an empty tensor may lie anywhere on a seam.
  CHECK(header_refusal("{" + entry("s", "F64", "[]", "[0,8]") + "}") == "");
  CHECK(header_refusal("{" + entry("e", "F64", "[0,3]", "[8,8]") + "," +
                       entry("s", "F64", "[1]", "[0,8]") + "}") == "");
}

TEST_CASE("safetensors: a failing save leaves nothing behind", "[io]") {
  TemporaryFolder folder;
  SafetensorsWriter writer;
  writer.add("w", numbers<float>(2, 2));
  CHECK(contains(message_of([&] { writer.add("w", numbers<float>(2, 2)); }), "two tensors"));
  CHECK(contains(message_of([&] { writer.add("__metadata__", numbers<float>(2, 2)); }),
                 "__metadata__"));
  CHECK(contains(message_of([&] { writer.save(folder / "missing" / "a"); }), "cannot create"));

  writer.save(folder / "a.st");
  const std::string before = contents_of(folder / "a.st");
  writer.metadata("bad", "\xff");
  CHECK(contains(message_of([&] { writer.save(folder / "a.st"); }), "not UTF-8"));
  CHECK(contents_of(folder / "a.st") == before);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);

  // The target is a folder: everything is written, the rename fails, the temporary goes away.
  SafetensorsWriter other;
  other.add("w", numbers<float>(2, 2));
  std::filesystem::create_directory(folder / "folder");
  CHECK(contains(message_of([&] { other.save(folder / "folder"); }), "cannot rename"));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
}

TEST_CASE("safetensors: views outlive a move of the file", "[io]") {
  TemporaryFolder folder;
  SafetensorsWriter writer;
  writer.add("w", numbers<float>(2, 2));
  writer.save(folder / "a.st");
  SafetensorsFile first(folder / "a.st");
  const auto view = first.tensor<float, 2>("w");
  const SafetensorsFile second(std::move(first));
  CHECK(view(1, 1) == 3.f);
  CHECK(second.tensor<float, 2>("w").data() == view.data());
}

TEST_CASE("safetensors: no damaged byte makes the reader misbehave", "[io]") {
  const std::string good =
      image("{\"__metadata__\":{\"a\":\"b\"}," + entry("v", "F32", "[1,1]", "[0,4]") + "," +
                entry("w", "I16", "[2]", "[4,8]") + "}",
            std::string(8, '\1'));
  REQUIRE(refusal(good) == "");
  for (std::size_t i = 0; i < good.size(); ++i) {
    CHECK(contains(refusal(good.substr(0, i)), "model.st"));
    for (const char c : {'\0', '{', '"', '9', '\xff'}) {
      std::string bad = good;
      bad[i] = c;
      const std::string got = refusal(bad);  // either fine or a weft::error
      CHECK((got.empty() || contains(got, "model.st")));
    }
  }
}
