# Defines TensorRT::TensorRT: TensorRT-RTX where TRBERT_WITH_TENSORRT is rtx, else the full TensorRT; with CUDA's runtime.
#
# Looks in TENSORRT_ROOT and CUDA_ROOT (variables of CMake or of the environment: folders with include/ and lib/); without
# them, where the system keeps headers and libraries. A library under its version's name alone is taken too, as in wheels.
include("${CMAKE_CURRENT_LIST_DIR}/trbertSearchRoot.cmake")
trbert_search_root(TENSORRT_ROOT TensorRT_INCLUDE_DIR TensorRT_LIBRARY)
trbert_search_root(CUDA_ROOT TensorRT_CUDA_INCLUDE_DIR TensorRT_CUDA_LIBRARY)
set(cuda_root "${CUDA_ROOT}")
if(NOT CUDA_ROOT)
  set(cuda_root /usr/local/cuda)
endif()
if(TRBERT_WITH_TENSORRT STREQUAL "rtx")
  set(library_names tensorrt_rtx libtensorrt_rtx.so.1)
else()
  set(library_names nvinfer libnvinfer.so.11 libnvinfer.so.10)
endif()
find_path(TensorRT_INCLUDE_DIR NvInfer.h
  HINTS "${TENSORRT_ROOT}/include" ${TENSORRT_ROOT_ONLY}
  PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE})
find_library(TensorRT_LIBRARY
  NAMES ${library_names} NAMES_PER_DIR
  HINTS "${TENSORRT_ROOT}/lib" ${TENSORRT_ROOT_ONLY}
  PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE})
find_path(TensorRT_CUDA_INCLUDE_DIR cuda_runtime_api.h HINTS "${cuda_root}/include" ${CUDA_ROOT_ONLY})
find_library(TensorRT_CUDA_LIBRARY
  NAMES cudart libcudart.so.13 libcudart.so.12 NAMES_PER_DIR
  HINTS "${cuda_root}/lib64" "${cuda_root}/lib" ${CUDA_ROOT_ONLY}
  PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE})
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_LIBRARY TensorRT_CUDA_INCLUDE_DIR TensorRT_CUDA_LIBRARY)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT
  REQUIRED_VARS TensorRT_LIBRARY TensorRT_INCLUDE_DIR TensorRT_CUDA_LIBRARY TensorRT_CUDA_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "TensorRT's and CUDA's headers and libraries are needed: give -DTENSORRT_ROOT=FOLDER and -DCUDA_ROOT=FOLDER, or build without: -DTRBERT_WITH_TENSORRT=OFF")
if(TensorRT_FOUND)
  # The headers of TensorRT-RTX have the names of the full one's.
  file(STRINGS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h" rtx_version REGEX "define TRT_MAJOR_RTX")
  if((rtx_version AND NOT TRBERT_WITH_TENSORRT STREQUAL "rtx") OR (NOT rtx_version AND TRBERT_WITH_TENSORRT STREQUAL "rtx"))
    message(FATAL_ERROR "the headers in ${TensorRT_INCLUDE_DIR} are of the other TensorRT than TRBERT_WITH_TENSORRT=${TRBERT_WITH_TENSORRT}: give -DTENSORRT_ROOT=FOLDER")
  endif()
endif()
if(TensorRT_FOUND AND NOT TARGET TensorRT::TensorRT)
  add_library(TensorRT::TensorRT INTERFACE IMPORTED)
  set_target_properties(TensorRT::TensorRT PROPERTIES
    INTERFACE_LINK_LIBRARIES "${TensorRT_LIBRARY};${TensorRT_CUDA_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${TensorRT_INCLUDE_DIR};${TensorRT_CUDA_INCLUDE_DIR}"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${TensorRT_INCLUDE_DIR};${TensorRT_CUDA_INCLUDE_DIR}")
endif()
