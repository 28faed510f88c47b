#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdio>
#include <iostream>

int main(int argc, char** argv) {
  const int code = doctest::Context(argc, argv).run();
  std::cout.flush();
  std::fflush(nullptr);
  _exit(code);  // past libtorch's static destructors, as launch/main.cpp says
}
