# A recipe for use inside of a checkout: conan create packaging/conan
import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy


class SnowglobeConan(ConanFile):
    name = "snowglobe"
    version = "0.1.0"
    license = "MIT"
    description = "PostgreSQL inside your process"
    topics = ("database", "postgresql", "embedded", "testing")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "tools": [True, False]}
    default_options = {"shared": False, "tools": False}
    requires = (
        "asio/1.28.1",
        "fmt/9.1.0",
        "libpq/15.4",
        "nlohmann_json/3.11.2",
        "openssl/[>=3 <4]",
        "sqlite3/3.40.1",
        "xxhash/0.8.1",
        "zstd/1.5.5",
        "zydis/4.0.0",
    )

    def requirements(self):
        if self.options.tools:
            self.requires("cli11/2.3.2")

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self, src_folder=".")

    def export_sources(self):
        root = os.path.join(self.recipe_folder, "..", "..")
        for pattern in ("CMakeLists.txt", "LICENSE", "api/*", "base/*", "cli/*", "guest/agent/protocol.h",
                        "guestnet/*", "packaging/*", "snapshots/*", "vm/*"):
            copy(self, pattern, root, self.export_sources_folder)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.variables["SNOWGLOBE_CLI"] = bool(self.options.tools)
        for name in ("SNOWGLOBE_TESTS", "SNOWGLOBE_BENCH", "SNOWGLOBE_WERROR"):
            toolchain.variables[name] = False
        toolchain.variables["SNOWGLOBE_BUILD_TREE_IMAGE"] = ""
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "snowglobe")
        self.cpp_info.set_property("cmake_target_name", "snowglobe::snowglobe")
        self.cpp_info.set_property("pkg_config_name", "snowglobe")
        self.cpp_info.libs = ["snowglobe"]
        self.cpp_info.system_libs = ["pthread", "dl", "m"]
