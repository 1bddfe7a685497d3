// The PlayCanvas engine. It reads PLY, compressed PLY and glTF; raw numbers, which SuperSplat turns by 180 degrees
// about z. What has been drawn is in order once the engine says so.
import * as pc from "playcanvas";

export async function start(canvas, size, background) {
  const app = new pc.Application(canvas, { graphicsDeviceOptions: { antialias: false, alpha: false } });
  app.setCanvasFillMode(pc.FILLMODE_NONE, size, size);
  app.setCanvasResolution(pc.RESOLUTION_FIXED, size, size);
  // Small splats are left out by default, to be fast; the picture to compare has them all.
  Object.assign(app.scene.gsplat, { minPixelSize: 0, minContribution: 0 });
  const eye = new pc.Entity();
  eye.addComponent("camera", {
    clearColor: new pc.Color(...background), nearClip: 0.02, farClip: 200, toneMapping: pc.TONEMAP_NONE,
  });
  app.root.addChild(eye);
  app.start();
  let [entity, asset] = [null, null];

  return async function show({ url, turn, camera: { position, target, fov } }) {
    if (entity) {
      entity.destroy();
      app.assets.remove(asset);
      asset.unload();
    }
    const container = url.endsWith(".glb");
    asset = new pc.Asset("splats", container ? "container" : "gsplat", { url });
    await new Promise((done, failed) => {
      asset.once("load", done);
      asset.once("error", (error) => failed(new Error(error)));
      app.assets.add(asset);
      app.assets.load(asset);
    });
    if (container) {
      entity = asset.resource.instantiateRenderEntity();
    } else {
      entity = new pc.Entity();
      entity.addComponent("gsplat", { asset });
    }
    entity.setEulerAngles(...turn);
    app.root.addChild(entity);
    eye.camera.fov = fov;
    eye.setPosition(...position);
    eye.lookAt(...target);
    await new Promise((done) => {
      let frames = 0;
      function frame(camera, layer, ready, loading) {
        frames = ready && loading === 0 ? frames + 1 : 0;
        if (frames < 5) return;
        app.systems.gsplat.off("frame:ready", frame);
        done();
      }
      app.systems.gsplat.on("frame:ready", frame);
    });
    await new Promise(requestAnimationFrame);
    return { splats: entity.findComponents("gsplat")[0].resource.numSplats };
  };
}
