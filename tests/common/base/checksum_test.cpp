#include "common/base/checksum.h"

#include <string>
#include <utility>

#include <doctest/doctest.h>

using namespace troupe;

TEST_SUITE("base/checksum") {
  TEST_CASE("the hashes are those of xxhsum") {
    // From xxHash 0.8 by way of Python, xxhash.xxh3_64_intdigest and xxh3_128_hexdigest; the empty ones are in its own tests.
    CHECK(xxh3_64("") == 0x2d06800538d394c2ull);
    CHECK(xxh3_128_hex("") == "99aa06d3014798d86001c324468d497f");
    CHECK(xxh3_64("troupe") == 0xec21d174febec525ull);
    CHECK(xxh3_128_hex("troupe") == "71698ef7b4dce30b6673611043649e53");
  }

  TEST_CASE("pieces hash as the whole does") {
    const std::string text(5000, 'x');
    Hasher hasher;

    hasher.update(text.substr(0, 1));
    hasher.update(std::string_view());
    hasher.update(text.substr(1, 2500));
    hasher.update(text.substr(2501));

    CHECK(hasher.hex() == xxh3_128_hex(text));
    hasher.update("y");
    CHECK(hasher.hex() == xxh3_128_hex(text + "y"));
  }

  TEST_CASE("a number is hashed as eight little-endian bytes") {
    Hasher hasher;

    hasher.update_u64(0x0807060504030201ull);

    CHECK(hasher.hex() == xxh3_128_hex("\x01\x02\x03\x04\x05\x06\x07\x08"));
  }

  TEST_CASE("a hasher moves with what it has seen") {
    Hasher first;
    first.update("ab");

    Hasher second(std::move(first));
    second.update("c");

    CHECK(second.hex() == xxh3_128_hex("abc"));
  }
}
