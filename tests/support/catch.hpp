#pragma once

// Catch2 v3 where it is installed, else v2 (Debian 12). Tests use only what both have.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
