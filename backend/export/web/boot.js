// Starts the viewer: unpacks the scripts and the avatar that come with this page, and hands the one to the other.
//
// A page opened from disk may neither fetch its neighbours nor import modules from them. So whatever the page needs
// comes as text in ordinary scripts, becomes blobs, and an import map gives the blobs the names of modules.
(async () => {
  "use strict";
  const state = (self.humansplat = { ready: false, error: null });
  const message = document.getElementById("message");

  function stop(sentence) {
    state.error = sentence;
    message.textContent = sentence;
    message.hidden = false;
    document.getElementById("panel").hidden = true;
  }

  async function unpack(text) {
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  function load(source) {
    return new Promise((done, failed) => {
      const script = document.createElement("script");
      Object.assign(script, { src: source, onload: done, onerror: failed });
      document.head.append(script);
    });
  }

  async function avatar() {
    if (!self.humansplatAvatar && location.protocol !== "file:") {
      // From a server the file itself is the shorter way.
      const answer = await fetch("avatar_splat.glb").catch(() => null);
      if (answer?.ok) return answer.arrayBuffer();
    }
    if (!self.humansplatAvatar) await load("avatar_data.js");
    return unpack(self.humansplatAvatar);
  }

  if (!document.createElement("canvas").getContext("webgl2")) {
    return stop("This page needs WebGL 2: switch on hardware acceleration, or open it in another browser.");
  }
  if (!self.DecompressionStream || !HTMLScriptElement.supports?.("importmap")) {
    return stop("This browser is too old for this page: update it, or open the page in another one.");
  }
  try {
    const imports = {};
    const give = (name, code) => (imports[name] = URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    for (const [name, text] of Object.entries(self.humansplatModules)) give(name, await unpack(text));
    for (const script of document.querySelectorAll("script[data-module]")) {
      give(script.dataset.module, script.textContent);
    }
    const map = document.createElement("script");
    map.type = "importmap";
    map.textContent = JSON.stringify({ imports });
    document.head.append(map);
    const { start } = await import("humansplat/viewer.js");
    await start(await avatar(), state, stop);
    message.hidden = true;
    state.ready = true;
  } catch (error) {
    console.error(error);
    stop(error.sentence ?? "This avatar cannot be shown: its files are damaged or incomplete; export it again.");
  }
})();
