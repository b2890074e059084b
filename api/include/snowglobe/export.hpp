// snowglobe/export.hpp - marks what the shared library shows.
#pragma once

#if defined(__GNUC__)
#define SNOWGLOBE_API __attribute__((visibility("default")))
#else
#define SNOWGLOBE_API
#endif
