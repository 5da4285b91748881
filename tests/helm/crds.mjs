// Validates custom resources, which kubernetes-validate does not know, by the schemas of their definitions: a JSON array on standard
// input, a line for each fault on standard output.
import { readFileSync } from "node:fs";
import * as certManager from "@kubernetes-models/cert-manager/cert-manager.io/v1/index";
import * as gateway from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/index";
import * as prometheus from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index";

const models = {
  "cert-manager.io/v1": certManager,
  "gateway.networking.k8s.io/v1": gateway,
  "monitoring.coreos.com/v1": prometheus,
};

for (const object of JSON.parse(readFileSync(0))) {
  try {
    new models[object.apiVersion][object.kind](object).validate();
  } catch (error) {
    console.log(`${object.kind}: ${error.message}`);
  }
}
