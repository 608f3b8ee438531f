// Turns the CUDA C++ that cubecl writes into C++ for this host: shared memory, inline assembly, and the name of the
// kernel. All else is the header's.
#pragma once

#include <cctype>
#include <string>
#include <vector>

namespace rewriting {

inline void replace_all(std::string &text, const std::string &from, const std::string &to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
}

inline size_t closing(const std::string &s, size_t open) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = open; i < s.size(); i++) {
        char c = s[i];
        if (quoted) {
            if (c == '\\') i++;
            else if (c == '"') quoted = false;
        } else if (c == '"') quoted = true;
        else if (c == '(' || c == '[' || c == '{') depth++;
        else if ((c == ')' || c == ']' || c == '}') && --depth == 0) return i;
    }
    return std::string::npos;
}

// The parts between `separator` outside of brackets and of strings.
inline std::vector<std::string> parts(const std::string &s, char separator) {
    std::vector<std::string> out(1);
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < s.size(); i++) {
        char c = s[i];
        if (quoted) {
            if (c == '\\') out.back() += c, c = s[++i];
            else if (c == '"') quoted = false;
        } else if (c == '"') quoted = true;
        else if (c == '(' || c == '[' || c == '{') depth++;
        else if (c == ')' || c == ']' || c == '}') depth--;
        else if (c == separator && !depth && !(separator == ':' && (s[i + 1] == ':' || (i && s[i - 1] == ':')) &&
                                              !(isspace(s[i + 1]) || isspace(s[i - 1])))) {
            out.emplace_back();
            continue;
        }
        out.back() += c;
    }
    return out;
}

// What stands in the strings of `s`, one after the other.
inline std::string strings(const std::string &s) {
    std::string out;
    bool quoted = false;
    for (size_t i = 0; i < s.size(); i++) {
        if (s[i] == '"') quoted = !quoted;
        else if (quoted && s[i] == '\\') {
            if (s[++i] == 'n') out += ' ';
        } else if (quoted) out += s[i];
    }
    return out;
}

// The expressions of a list of operands: "=r"(a), "f"(b).
inline std::vector<std::string> operands(const std::string &s) {
    std::vector<std::string> out;
    for (auto &part : parts(s, ',')) {
        size_t open = part.find('(');
        if (open != std::string::npos) out.push_back(part.substr(open, part.rfind(')') - open + 1));
    }
    return out;
}

inline std::string listed(const std::vector<std::string> &all, size_t from, size_t to, const std::string &before) {
    std::string out = "{";
    for (size_t i = from; i < to; i++) out += (i > from ? ", " : "") + before + all[i];
    return out + "}";
}

// A statement of inline PTX as a call of the shim; empty where it is unknown.
inline std::string assembly(const std::string &code, const std::vector<std::string> &out, const std::vector<std::string> &in) {
    auto starts = [&](const char *with) { return code.compare(0, std::string(with).size(), with) == 0; };
    auto has = [&](const char *what) { return code.find(what) != std::string::npos; };
    if (starts("ldmatrix.sync.aligned.m8n8.x"))
        return "software::load_matrices<" + std::to_string(out.size()) + (has(".trans") ? ", true>(" : ", false>(") +
               listed(out, 0, out.size(), "&") + ", " + in[0] + ")";
    if (starts("stmatrix.sync.aligned.m8n8.x"))
        return "software::store_matrices<" + std::to_string(in.size() - 1) + (has(".trans") ? ", true>(" : ", false>(") +
               in[0] + ", " + listed(in, 1, in.size(), "") + ")";
    if (starts("mma.sync.aligned.m16n8k")) {
        size_t k = std::stoul(code.substr(23));
        std::string type = has(".f32.f16.f16.f32") ? "in_half" : has(".f32.bf16.bf16.f32") ? "in_bfloat"
                         : has(".f32.tf32.tf32.f32") ? "in_tf32" : "";
        if (type.empty() || out.size() != 4) return "";
        size_t per = type == "in_tf32" ? 1 : 2, a = 16 * k / 32 / per, b = 8 * k / 32 / per;
        return "software::product<software::" + type + ", " + std::to_string(k) + ">(" + listed(out, 0, 4, "&") + ", " +
               listed(in, 0, a, "") + ", " + listed(in, a, a + b, "") + ", " + listed(in, a + b, a + b + 4, "") + ")";
    }
    if (starts("cp.async.ca.shared") || starts("cp.async.cg.shared"))
        return "software::copy_async(" + in[0] + ", (const void *)" + in[1] + ", " + in[2] + ", " +
               (in.size() > 3 ? in[3] : in[2]) + ")";
    if (starts("add.sat.s32")) return out[0] + " = software::saturated<int>((long long)" + in[0] + " + " + in[1] + ")";
    if (starts("sub.sat.s32")) return out[0] + " = software::saturated<int>((long long)" + in[0] + " - " + in[1] + ")";
    if (has("elect.sync")) return out[0] + " = software::elect()";
    return "";
}

inline bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

}  // namespace rewriting

inline bool rewrite(const std::string &source, std::string &out, std::string &kernel, bool &meets, std::string &log) {
    using namespace rewriting;
    out = source;
    // The headers are the shim's.
    for (size_t at = 0; (at = out.find("#include <", at)) != std::string::npos; at++) out.replace(at, 8, "// include");
    replace_all(out, "\n#line", "\n// line");

    // extern __shared__ ... name[];  and  __shared__ type name;
    for (size_t at = 0; (at = out.find("extern __shared__", at)) != std::string::npos;) {
        size_t end = out.find(";", at), bracket = out.rfind("[", end);
        size_t name = bracket;
        while (is_word(out[name - 1])) name--;
        std::string word = out.substr(name, bracket - name);
        out.replace(at, end - at, "uint8 *" + word + " = (uint8 *)software_self->shared");
    }
    if (out.find("__shared__") != std::string::npos) {
        log = "software-cuda: static shared memory is not known";
        return false;
    }

    for (size_t at = 0; (at = out.find("asm", at)) != std::string::npos;) {
        if ((at && is_word(out[at - 1])) || is_word(out[at + 3])) {
            at += 3;
            continue;
        }
        size_t open = out.find('(', at), close = closing(out, open);
        if (close == std::string::npos) return false;
        auto sections = parts(out.substr(open + 1, close - open - 1), ':');
        // "code" :: inputs  has an empty list of outputs.
        std::string inside = out.substr(open + 1, close - open - 1);
        std::vector<std::string> none, outs, ins;
        size_t colons = inside.find("::");
        std::string code = strings(sections[0]);
        if (sections.size() > 1) outs = operands(sections[1]);
        if (sections.size() > 2) ins = operands(sections[2]);
        (void)colons;
        code.erase(0, code.find_first_not_of(" {"));
        std::string call = assembly(code, outs, ins);
        if (call.empty()) {
            log = "software-cuda: unknown assembly: " + code;
            return false;
        }
        out.replace(at, close + 1 - at, call);
        at += call.size();
    }

    size_t signature = out.find("__global__");
    size_t bounds = out.find("__launch_bounds__", signature);
    if (signature == std::string::npos || bounds == std::string::npos) {
        log = "software-cuda: no kernel in the source";
        return false;
    }
    size_t name = closing(out, out.find('(', bounds)) + 1;
    if (out.compare(name, 16, "__cluster_dims__") == 0) name = closing(out, out.find('(', name)) + 1;
    while (isspace((unsigned char)out[name])) name++;
    size_t end = name;
    while (is_word(out[end])) end++;
    kernel = out.substr(name, end - name);
    replace_all(out, "extern \"C\" __global__", "__global__");

    meets = false;
    for (const char *word : {"__syncthreads", "_sync(", "__syncwarp", "wmma", "software::load_matrices",
                             "software::store_matrices", "software::product", "software::elect", "__activemask",
                             "barrier", "pipeline"})
        meets |= out.find(word) != std::string::npos;
    return true;
}
