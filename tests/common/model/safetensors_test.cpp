#include "common/model/safetensors.h"

#include <ATen/Functions.h>
#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "common/base/error.h"
#include "common/base/files.h"
#include "tests/common/rollout_log/scratch_folder.h"

// The attacks are those of the reference implementation's own tests (huggingface/safetensors, tensor.rs and attacks/).

using troupe::ConfigError;
using troupe::read_safetensors;

namespace {

/// A file with this header text (its length in front) and these bytes behind it.
std::string file_of(const std::string& header, const std::string& data) {
  std::string bytes;
  for (std::size_t i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i) & 0xFF));
  return bytes + header + data;
}

struct Fixture {
  troupe::ScratchFolder folder;
  std::string path = (folder / "m.safetensors").string();

  auto read(const std::string& bytes) {
    troupe::write_file_atomically(path, bytes);
    return read_safetensors(path);
  }
  void check_refused(const std::string& bytes, const char* part_of_message) {
    troupe::write_file_atomically(path, bytes);
    CHECK_THROWS_WITH_AS(read_safetensors(path), doctest::Contains(part_of_message), ConfigError);
    CHECK_THROWS_WITH_AS(read_safetensors(path), doctest::Contains(path.c_str()), ConfigError);
  }
};

const std::string kTwoByTwo = R"({"t":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})";
const std::string kSixteen("\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0", 16);

}  // namespace

TEST_SUITE("model/safetensors") {
  TEST_CASE_FIXTURE(Fixture, "tensors come back with name, shape, dtype and bytes") {
    const at::Tensor a = at::arange(6, at::kFloat).reshape({2, 3});
    const at::Tensor b = at::arange(3, at::kLong);
    const at::Tensor c = at::ones({}, at::kBFloat16);
    const at::Tensor d = at::arange(5, at::kByte);  // leaves what follows unaligned
    const at::Tensor e = at::full({2}, 1.5, at::kHalf);
    troupe::write_safetensors(path, {{"z", a}, {"b", b}, {"c", c}, {"d", d}, {"e", e}}, {{"format", "pt"}, {"k", "v"}});

    const auto read = read_safetensors(path);
    CHECK(read.size() == 5);
    for (const auto& [name, tensor] : {std::pair("z", a), {"b", b}, {"c", c}, {"d", d}, {"e", e}}) {
      CAPTURE(name);
      CHECK((read.at(name).scalar_type() == tensor.scalar_type()));
      CHECK(at::equal(read.at(name), tensor));
    }
    CHECK(troupe::read_safetensors_metadata(path).at("k") == "v");
  }

  TEST_CASE_FIXTURE(Fixture, "a tensor outlives the call and the file's name") {
    at::Tensor tensor = read(file_of(kTwoByTwo, kSixteen)).at("t");
    std::filesystem::remove(path);
    CHECK(at::equal(tensor, at::tensor({1, 2, 3, 4}, at::kInt).reshape({2, 2})));
  }

  TEST_CASE_FIXTURE(Fixture, "test_empty: no tensor at all is a file") {
    CHECK(read(file_of("{}", "")).empty());
    CHECK(read(file_of(R"({"__metadata__":{}})", "")).empty());
  }

  TEST_CASE_FIXTURE(Fixture, "test_empty_shapes_allowed: a shape without dimensions is one element") {
    CHECK(read(file_of(R"({"t":{"dtype":"I32","shape":[],"data_offsets":[0,4]}})", kSixteen.substr(0, 4)))
              .at("t")
              .dim() == 0);
  }

  TEST_CASE_FIXTURE(Fixture, "test_zero_sized_tensor: a dimension of 0 takes no bytes") {
    const auto tensors = read(file_of(R"({"t":{"dtype":"I32","shape":[2,0],"data_offsets":[0,0]}})", ""));
    CHECK(tensors.at("t").sizes() == at::IntArrayRef({2, 0}));
  }

  TEST_CASE_FIXTURE(Fixture,
                    "test_whitespace_padded_header: spaces behind the header are allowed, before it they are not") {
    CHECK(read(file_of(kTwoByTwo + "      ", kSixteen)).size() == 1);
    check_refused(file_of(" " + kTwoByTwo, kSixteen), "does not begin with '{'");
  }

  TEST_CASE_FIXTURE(Fixture, "test_header_too_small: fewer than eight bytes") {
    check_refused("", "m.safetensors");
    check_refused("abcdefg", "it has 7 bytes");
  }

  TEST_CASE_FIXTURE(Fixture, "test_header_too_large: a header above 100 MB") {
    check_refused(std::string("\x01\xE1\xF5\x05\0\0\0\0", 8) + "{}", "a header of 100000001 bytes");
    check_refused(std::string(8, '\xFF') + "{}", "a header of 18446744073709551615 bytes");
  }

  TEST_CASE_FIXTURE(Fixture, "test_invalid_header_length: a header beyond the end of the file") {
    check_refused(std::string("\3\0\0\0\0\0\0\0", 8) + "{}", "a header of 3 bytes is announced in a file of 10");
  }

  TEST_CASE_FIXTURE(Fixture, "test_invalid_header_non_utf8, test_invalid_header_not_json") {
    check_refused(file_of("\xFF", ""), "does not begin with '{'");
    check_refused(file_of("{\"\xFF\":1}", ""), "not valid JSON");
    check_refused(file_of("{", ""), "not valid JSON");
    check_refused(file_of("{}{}", ""), "not valid JSON");
  }

  TEST_CASE_FIXTURE(Fixture, "test_invalid_info: the span differs from shape times dtype") {
    check_refused(file_of(R"({"t":{"dtype":"I32","shape":[2,2],"data_offsets":[0,4]}})", kSixteen),
                  "16 bytes of its shape [2,2]");
    check_refused(file_of(R"({"t":{"dtype":"I32","shape":[2,2],"data_offsets":[16,0]}})", kSixteen), "tensor \"t\"");
  }

  TEST_CASE_FIXTURE(Fixture, "test_validation_overflow: shape times dtype overflows") {
    const std::string too_long = R"({"t":{"dtype":"I32","shape":[2,18446744073709551614],"data_offsets":[0,16]}})";
    check_refused(file_of(too_long, kSixteen), "larger than any memory");
    const std::string wraps = R"({"t":{"dtype":"I32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})";
    check_refused(file_of(wraps, ""), "larger than any memory");
    const std::string empty = R"({"t":{"dtype":"U8","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}})";
    check_refused(file_of(empty, ""), "larger than any memory");
  }

  TEST_CASE_FIXTURE(Fixture, "test_metadata_incomplete_buffer: bytes that no tensor has, or too few") {
    check_refused(file_of(kTwoByTwo, kSixteen + "x"), "need 16 bytes, the file has 17");
    check_refused(file_of(kTwoByTwo, kSixteen.substr(1)), "need 16 bytes, the file has 15");
  }

  TEST_CASE_FIXTURE(Fixture, "test_json_attack: many tensors over the same bytes, or holes between them") {
    check_refused(file_of(R"({"a":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]},)"
                          R"("b":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})",
                          kSixteen),
                  "tensor \"b\" begins at offset 0, expected 16");
    check_refused(file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                          R"("b":{"dtype":"U8","shape":[4],"data_offsets":[12,16]}})",
                          kSixteen),
                  "tensor \"b\" begins at offset 12, expected 4");
  }

  TEST_CASE_FIXTURE(Fixture, "duplicate names, unknown dtypes and wrong types are refused by tensor") {
    const std::string one = R"("t":{"dtype":"U8","shape":[16],"data_offsets":[0,16]})";
    check_refused(file_of("{" + one + "," + one + "}", kSixteen), "key \"t\" stands twice");
    check_refused(file_of(R"({"t":{"dtype":"I7","shape":[1],"data_offsets":[0,1]}})", "x"),
                  "dtype \"I7\" is not known");
    check_refused(file_of(R"({"t":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "x"), "found -1");
    check_refused(file_of(R"({"t":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", "x"), "shape: expected an array");
    check_refused(file_of(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", "x"),
                  "data_offsets: expected two");
    check_refused(file_of(R"({"t":{"dtype":"U8","shape":[1]}})", "x"), "key \"data_offsets\" is missing");
    check_refused(file_of(R"({"t":[]})", "x"), "tensor \"t\"");
    check_refused(file_of("[]", ""), "does not begin with '{'");
  }

  TEST_CASE_FIXTURE(Fixture, "a file cut at any byte is refused") {
    const std::string whole = file_of(kTwoByTwo, kSixteen);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CAPTURE(size);
      troupe::write_file_atomically(path, whole.substr(0, size));
      CHECK_THROWS_AS(read_safetensors(path), ConfigError);
    }
  }

  TEST_CASE_FIXTURE(Fixture, "writing replaces a file whose tensors are still mapped") {
    const at::Tensor old = read(file_of(kTwoByTwo, kSixteen)).at("t");
    troupe::write_safetensors(path, {{"t", at::zeros({2, 2}, at::kInt)}});
    CHECK(at::equal(old, at::tensor({1, 2, 3, 4}, at::kInt).reshape({2, 2})));
    CHECK(at::equal(read_safetensors(path).at("t"), at::zeros({2, 2}, at::kInt)));
    CHECK(troupe::read_safetensors_metadata(path).at("format") == "pt");
  }
}
