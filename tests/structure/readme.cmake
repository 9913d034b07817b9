# weft_readme_sources(<README.md> <folder> <out>)
#
# Writes every ```cpp block of the README to a source file in <folder>, and the list of files to
# <out>; compiling them is the test. A block of declarations (it has main, or a line that starts
# with struct, class, template or namespace) is taken as it stands. Of a block of statements, the
# lines up to the last #include come first and the rest is put into a function.
function(weft_readme_sources readme folder out)
  set(sources "")
  set(text "")
  if(EXISTS "${readme}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${readme}")
    file(READ "${readme}" text)
  endif()
  set(number 0)
  while(TRUE)
    string(FIND "${text}" "```cpp\n" begin)
    if(begin EQUAL -1)
      break()
    endif()
    math(EXPR begin "${begin} + 7")
    string(SUBSTRING "${text}" ${begin} -1 text)
    string(FIND "${text}" "```" end)
    string(SUBSTRING "${text}" 0 ${end} block)
    math(EXPR end "${end} + 3")
    string(SUBSTRING "${text}" ${end} -1 text)

    math(EXPR number "${number} + 1")
    if(NOT "\n${block}" MATCHES "\n(int main|struct |class |template |namespace )")
      _weft_wrap_statements("${block}" ${number} block)
    endif()
    set(source "${folder}/block${number}.cpp")
    # CONFIGURE leaves a file alone whose content has not changed.
    file(CONFIGURE OUTPUT "${source}" CONTENT "@block@" @ONLY)
    list(APPEND sources "${source}")
  endwhile()
  set(${out} "${sources}" PARENT_SCOPE)
endfunction()

function(_weft_wrap_statements block number out)
  set(includes "")
  string(FIND "${block}" "#include" last REVERSE)
  if(NOT last EQUAL -1)
    string(SUBSTRING "${block}" ${last} -1 tail)
    string(FIND "${tail}" "\n" line_end)
    math(EXPR split "${last} + ${line_end} + 1")
    string(SUBSTRING "${block}" 0 ${split} includes)
    string(SUBSTRING "${block}" ${split} -1 block)
  endif()
  set(${out}
    "${includes}\nvoid readme_block${number}();\nvoid readme_block${number}() {\n${block}}\n"
    PARENT_SCOPE)
endfunction()
