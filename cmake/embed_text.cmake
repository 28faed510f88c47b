# cmake -DINPUT=file -DNAME=kName -DOUTPUT=file.cpp -P embed_text.cmake: the text of a file as a constant of namespace troupe.
file(READ ${INPUT} text)
if(text MATCHES "\\)embedded\"")
  message(FATAL_ERROR "${INPUT} holds the end mark of the string literal that it should become")
endif()
file(WRITE ${OUTPUT}
  "#include <string_view>\n\n"
  "namespace troupe {\n"
  "extern const std::string_view ${NAME};\n"
  "const std::string_view ${NAME} = R\"embedded(${text})embedded\";\n"
  "}  // namespace troupe\n")
