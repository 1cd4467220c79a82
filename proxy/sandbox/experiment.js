// What the sandbox serves in place of Amplitude's script of web experiments. As that script does, it
// carries the flags, asks for those that need a server's knowledge, and changes the page.
// Evaluating is left to Amplitude's JavaScript client; without it on the page, only the flags are
// there, in `window.webExperiment.flags`.
(function () {
  'use strict';
  var given = '{{GIVEN}}';
  var config = window.experimentConfig || {};
  var script = document.currentScript;
  var origin = script && script.src ? new URL(script.src).origin : '';
  var name = 'EXP_' + given.apiKey.slice(0, 10);

  function userOfThisBrowser() {
    var user = JSON.parse(localStorage.getItem(name) || '{}');
    user.device_id = user.device_id || Math.random().toString(36).slice(2);
    localStorage.setItem(name, JSON.stringify(user));
    return Object.assign({}, user, config.user);
  }

  function change(variant) {
    if (!Array.isArray(variant.payload)) return;
    variant.payload.forEach(function (action) {
      if (action.action !== 'mutate') return;
      action.data.mutations.forEach(function (mutation) {
        document.querySelectorAll(mutation.selector).forEach(function (element) {
          if (mutation.attribute === 'html') element.innerHTML = mutation.value;
          else element.setAttribute(mutation.attribute, mutation.value);
        });
      });
    });
  }

  function withClient(library, user) {
    var settings = {
      internalInstanceNameSuffix: 'web',
      initialFlags: JSON.stringify(given.flags),
      flagsServerUrl: origin,
      fetchTimeoutMillis: 1000,
      pollOnStart: false,
      fetchOnStart: false,
      automaticExposureTracking: false,
    };
    var client = library.initialize(given.apiKey, Object.assign(settings, config));
    client.setUser(user);
    return client.doFlags().then(function () {
      var variants = client.all();
      Object.keys(variants).forEach(function (key) {
        if ((variants[key].metadata || {}).deliveryMethod === 'web') change(variants[key]);
      });
      return { client: client, variants: variants };
    });
  }

  function withoutClient(user) {
    var known = { user_id: user.user_id, device_id: user.device_id };
    var header = btoa(unescape(encodeURIComponent(JSON.stringify(known))));
    var url = (config.flagsServerUrl || origin) + '/sdk/v2/flags?delivery_method=web';
    var headers = { Authorization: 'Api-Key ' + given.apiKey, 'X-Amp-Exp-User': header };
    return fetch(url, { headers: headers }).then(function (answer) {
      if (answer.status !== 200) throw new Error('flags: status ' + answer.status);
      return answer.json().then(function (flags) {
        return { flags: flags };
      });
    });
  }

  var library = window.Experiment && window.Experiment.Experiment;
  var user = userOfThisBrowser();
  var found = library ? withClient(library, user) : withoutClient(user);
  window.webExperiment = found.then(
    function (result) {
      return Object.assign(result, { integration: given.integration });
    },
    function (error) {
      return { error: String(error), integration: given.integration };
    }
  );
})();
