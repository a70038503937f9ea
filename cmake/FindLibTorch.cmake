# Finds LibTorch without asking for the CUDA toolkit, which the wheel's own CMake package demands
# when the wheel is a CUDA build. Looks in CMAKE_PREFIX_PATH first, then in the project's .venv.
# Gives the target LibTorch::LibTorch and LibTorch_HAS_CUDA.
file(GLOB wheel_dirs ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)

find_path(LibTorch_INCLUDE_DIR ATen/ATen.h PATH_SUFFIXES include HINTS ${CMAKE_PREFIX_PATH} ${wheel_dirs})
get_filename_component(LibTorch_ROOT "${LibTorch_INCLUDE_DIR}" DIRECTORY)
foreach(name torch torch_cpu c10 torch_cuda c10_cuda)
  find_library(LibTorch_${name}_LIBRARY ${name} PATHS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_torch_LIBRARY LibTorch_torch_cpu_LIBRARY LibTorch_c10_LIBRARY LibTorch_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "run scripts/setup.sh, or point CMAKE_PREFIX_PATH at a LibTorch")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE ${LibTorch_INCLUDE_DIR})
  set(LibTorch_HAS_CUDA OFF)
  # The CUDA parts register themselves when loaded; nothing refers to them, so the linker is told.
  set(libraries ${LibTorch_torch_LIBRARY} ${LibTorch_torch_cpu_LIBRARY} ${LibTorch_c10_LIBRARY})
  if(LibTorch_torch_cuda_LIBRARY AND LibTorch_c10_cuda_LIBRARY)
    set(LibTorch_HAS_CUDA ON)
    list(APPEND libraries -Wl,--no-as-needed ${LibTorch_torch_cuda_LIBRARY}
         ${LibTorch_c10_cuda_LIBRARY} -Wl,--as-needed)
    # The wheel of a CUDA build leaves symbols to other wheels (cuBLAS, cuDNN), found at run time.
    target_link_options(LibTorch::LibTorch INTERFACE -Wl,--allow-shlib-undefined)
  endif()
  target_link_libraries(LibTorch::LibTorch INTERFACE ${libraries})
  target_link_options(LibTorch::LibTorch INTERFACE -Wl,-rpath,${LibTorch_ROOT}/lib)
endif()
