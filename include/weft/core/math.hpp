#pragma once

#include <weft/core/math/activation.hpp>
#include <weft/core/math/erf.hpp>
#include <weft/core/math/exp.hpp>
#include <weft/core/math/log.hpp>
