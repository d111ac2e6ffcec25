# Builds for @architecture@ Linux on another machine, with the compilers of
# Debian's package g++-@package@-linux-gnu or their like.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR @architecture@)
set(CMAKE_C_COMPILER @architecture@-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER @architecture@-linux-gnu-g++)
