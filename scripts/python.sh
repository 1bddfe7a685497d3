# Sourced by the scripts beside it: finds the Python that runs them and sets PYTHON. No Python older or newer than 3.11
# will do, because Blender 4.5, as a Python module, is made for that one alone.
for PYTHON in "${HUMANSPLAT_PYTHON:-}" python3.11 python3 python "$HOME"/.pyenv/versions/3.11*/bin/python; do
    # Some names are only shims that know no such version: ask, do not guess.
    if [ -n "$PYTHON" ] && "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then
        return 0
    fi
done
echo "Python 3.11 was not found. Install it (Debian 12: apt-get install python3 python3-venv), or set HUMANSPLAT_PYTHON" \
    "to the path of a Python 3.11." >&2
exit 1
