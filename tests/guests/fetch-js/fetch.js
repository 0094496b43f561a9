// A component of `wasi:http/incoming-handler@0.2`, made with componentize-js and nothing of Modelet: what a
// service worker is written like. `spinsdk` and `http-python` do the same with other tools.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const last = request.url.split("/").at(-1);
  switch (last) {
    // As it comes.
    case "echo":
      return new Response(request.body);
    // What is at the address in the body.
    case "fetch":
      return fetchAt(await request.text());
    case "print":
      console.log("to standard output");
      return new Response();
    case "loop":
      for (;;);
    default: {
      const seen = `${request.method} ${last} ${request.headers.get("x-test")}`;
      return new Response(null, { status: 202, headers: { "x-seen": seen } });
    }
  }
}

async function fetchAt(address) {
  try {
    const found = await fetch(address);
    return new Response(await found.arrayBuffer(), { status: found.status });
  } catch (error) {
    return new Response(String(error), { status: 502 });
  }
}
