#pragma once

#include <boost/multiprecision/cpp_bin_float.hpp>

namespace troupe {

/// 50 decimal digits: what two equal values must agree to, but for the error that was carried along.
using MathReal = boost::multiprecision::number<boost::multiprecision::cpp_bin_float<50>, boost::multiprecision::et_off>;

}  // namespace troupe
