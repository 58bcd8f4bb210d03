# Defines OnnxRuntime::OnnxRuntime.
#
# Looks in ONNXRUNTIME_ROOT (a variable of CMake or of the environment: a folder with include/ and lib/, such as a release
# archive or what scripts/onnxruntime_root.sh makes); without it, where the system keeps headers and libraries.
include("${CMAKE_CURRENT_LIST_DIR}/trbertSearchRoot.cmake")
trbert_search_root(ONNXRUNTIME_ROOT OnnxRuntime_INCLUDE_DIR OnnxRuntime_LIBRARY)
find_path(OnnxRuntime_INCLUDE_DIR onnxruntime_cxx_api.h
  HINTS "${ONNXRUNTIME_ROOT}/include" ${ONNXRUNTIME_ROOT_ONLY}
  PATH_SUFFIXES onnxruntime onnxruntime/core/session)
find_library(OnnxRuntime_LIBRARY onnxruntime
  HINTS "${ONNXRUNTIME_ROOT}/lib" ${ONNXRUNTIME_ROOT_ONLY}
  PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE})
mark_as_advanced(OnnxRuntime_INCLUDE_DIR OnnxRuntime_LIBRARY)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OnnxRuntime
  REQUIRED_VARS OnnxRuntime_LIBRARY OnnxRuntime_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "ONNX Runtime's headers and library are needed: give -DONNXRUNTIME_ROOT=FOLDER. The script runtimes/cpp/scripts/onnxruntime_root.sh makes such a folder")
if(OnnxRuntime_FOUND AND NOT TARGET OnnxRuntime::OnnxRuntime)
  add_library(OnnxRuntime::OnnxRuntime UNKNOWN IMPORTED)
  set_target_properties(OnnxRuntime::OnnxRuntime PROPERTIES
    IMPORTED_LOCATION "${OnnxRuntime_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${OnnxRuntime_INCLUDE_DIR}"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${OnnxRuntime_INCLUDE_DIR}")
endif()
